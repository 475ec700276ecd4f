import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deleteTopic } from '../../infra/log/kafka/test-harness.ts'
import { BLOBS_AWAY } from '../../testing/crew/blobs-away.ts'
import { type DrillResult, drill, drillReport } from '../../testing/crew/drill.ts'
import { madeAgainOf } from '../../testing/crew/made-again.ts'
import type { Planted } from '../../testing/crew/planted.ts'
import type { At } from '../../testing/crew/program.ts'
import { Cluster } from './cluster.ts'
import { commitFault } from './faults.ts'
import { otherThanConsumed } from './java-consumer.ts'
import { NODES, scheduleOf } from './schedule.ts'

export interface ChaosTestOptions {
  readonly seed: string
  readonly faults: number
  readonly planted?: readonly Planted[]
}

/** Topic prefix of the log. */
const PREFIX = 'chaos'

/** Errors with which a producer or reader may give up while a broker is unavailable. */
const EXCUSES = new RegExp(
  `LogUnreachableError|CommitOutcomeUnknownError|of trying|connection was lost|could not be reached|${BLOBS_AWAY.source}`,
  'i',
)

/** Runs on three brokers, which also fail and recover. The folder is kept unless the test passes. */
async function chaosTest(
  { seed, faults, planted = [] }: ChaosTestOptions,
  report: (line: string) => void,
): Promise<DrillResult & { readonly folder: string | undefined }> {
  const root = mkdtempSync(join(tmpdir(), 'plumbline-chaos-'))
  const cluster = await Cluster.start(join(root, 'broker'), report)
  // A test that is ended early must not leave brokers running.
  const killBrokers = () => {
    for (const id of NODES) {
      const { pid } = cluster.node(id)
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
    }
  }
  process.once('exit', killBrokers)
  let keep = true
  try {
    const at: At = { data: join(root, 'data'), log: `kafka://${cluster.bootstrap}/${PREFIX}` }
    const result = await drill({
      root,
      at,
      seed,
      planted,
      excuses: EXCUSES,
      steps: scheduleOf(seed, faults),
      strike: (crew, step) => commitFault({ crew, cluster, data: at.data }, step),
      heal: async () => {
        for (const id of NODES) await cluster.node(id).start()
      },
      deleteTopic: (topic) => deleteTopic(at.log ?? '', topic),
      last: madeAgainOf(seed),
      audit: (counts) => otherThanConsumed({ bootstrap: cluster.bootstrap, prefix: PREFIX, dir: root }, at, counts),
      report,
    })
    keep = result.breaches.length > 0
    return { ...result, folder: keep ? root : undefined }
  } finally {
    await cluster.stop()
    process.off('exit', killBrokers)
    if (!keep) rmSync(root, { recursive: true, force: true })
  }
}

/** Runs the test and returns its result as text, with the command that repeats it. */
export async function chaosReport(options: ChaosTestOptions) {
  const { seed, faults, planted = [] } = options
  const plant = planted.length === 0 ? '' : ` --plant ${planted.join()}`
  return await drillReport({
    title: `seed ${seed}: ${faults} faults on three brokers, three workers, two producers, a sink and a reader`,
    again: `seed ${seed}; again: npm run test:chaos -- --seed ${seed} --faults ${faults}${plant}`,
    run: (report) => chaosTest(options, report),
  })
}
