import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deleteTopic } from '../../infra/log/lmdb/test-harness.ts'
import { BLOBS_AWAY } from '../../testing/crew/blobs-away.ts'
import { logOf } from '../../testing/crew/data.ts'
import { type DrillResult, drill, drillReport } from '../../testing/crew/drill.ts'
import { madeAgainOf } from '../../testing/crew/made-again.ts'
import type { Planted } from '../../testing/crew/planted.ts'
import { SmallDisk } from '../../testing/small-disk.ts'
import { commitFault } from './faults.ts'
import { type Sizes, scheduleOf } from './schedule.ts'
import { WriterLock } from './writer-lock.ts'

export interface FaultTestOptions {
  readonly seed: string
  readonly sizes: Sizes
  readonly planted?: readonly Planted[]
}

/** Errors with which processes may give up: the disk is full, the lock is held, or the blobs are unavailable. */
const EXCUSES = new RegExp(
  `expected room on the disk|no space left|ENOSPC|for the write lock|waited longer than|could not write|${BLOBS_AWAY.source}`,
  'i',
)

/** Runs on the embedded log, on a disk that can be filled. The folder is kept when there are breaches. */
async function faultTest(
  { seed, sizes, planted = [] }: FaultTestOptions,
  report: (line: string) => void,
): Promise<DrillResult & { readonly folder: string | undefined }> {
  const root = mkdtempSync(join(tmpdir(), 'plumbline-faults-'))
  const disk = new SmallDisk(join(root, 'disk'), '768m')
  const data = join(disk.dir, 'data')
  const unmount = () => disk.unmount()
  process.once('exit', unmount)
  let lock: WriterLock | undefined
  const result = await drill({
    root,
    at: { data, log: undefined },
    seed,
    planted,
    excuses: EXCUSES,
    steps: scheduleOf(seed, sizes),
    strike: (crew, step) => {
      lock ??= new WriterLock(logOf(data))
      return commitFault({ crew, data, disk, lock }, step)
    },
    release: async () => {
      await lock?.close()
      lock = undefined
    },
    heal: () => disk.free(),
    deleteTopic: (topic) => deleteTopic(logOf(data), topic),
    last: madeAgainOf(seed),
    report,
  })
  await lock?.close()
  const keep = result.breaches.length > 0
  if (keep && disk.refused === undefined && existsSync(data)) cpSync(data, join(root, 'data'), { recursive: true })
  unmount()
  process.off('exit', unmount)
  if (!keep) rmSync(root, { recursive: true, force: true })
  return { ...result, folder: keep ? root : undefined }
}

/** Runs the test and returns its result as text, with the command that repeats it. */
export function faultReport(options: FaultTestOptions) {
  const { seed, sizes, planted = [] } = options
  const plant = planted.length === 0 ? '' : ` --plant ${planted.join()}`
  return drillReport({
    title: `seed ${seed}: ${Object.entries(sizes)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}`,
    again: `seed ${seed}; again: npm run test:faults -- --seed ${seed} --kills ${sizes.kills}${plant}`,
    run: (report) => faultTest(options, report),
  })
}
