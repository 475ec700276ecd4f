import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { sampleCompletions } from '../../processors/sample-completions/sample-completions.ts'
import { towerPolicies } from '../../processors/sample-completions/tower-policies.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { benchFolder } from '../folder.ts'
import { anonymousMib } from '../memory.ts'
import { fillRenamed } from '../renamed.ts'
import { PARTITIONS, sampledGroups } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'

const PROGRAM = fileURLToPath(new URL('./slow-sink-process.ts', import.meta.url))
const MIB = 2 ** 20
/** How long memory is measured; the sink does not finish its backlog in that time. */
const SECONDS = 60

/** Anonymous memory of a process whose DuckDB sink loads very slowly, with a backlog of 1 GiB of events. */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const folder = await benchFolder()
  const address = `kafka://${bootstrap}/slow-${Date.now()}`
  const log = await openKafkaLog({ address })
  const mib = quick ? 8 : 1024
  await fill(log, mib * MIB)
  return {
    measures: [],
    gauges: [
      {
        what: `a slow DuckDB sink with ${mib} MiB behind, anonymous memory`,
        unit: 'MiB',
        goal: 500,
        values: async () => [await mostMemory(address, `${folder.path}/slow.duckdb`, quick ? 5 : SECONDS)],
      },
    ],
    async close() {
      await log.close()
      await folder.remove()
    },
  }
}

/** Appends requests and completions, the same 200 groups again and again under new names. */
async function fill(log: Log, bytes: number): Promise<void> {
  const groups = await sampledGroups(200)
  await log.createTopics(topicsOf(catalogue, [sampleCompletions('random-legal', [towerPolicies])], PARTITIONS))
  await fillRenamed(log, groups, bytes)
}

async function mostMemory(address: string, file: string, seconds: number): Promise<number> {
  const sink = spawn(process.execPath, [...process.execArgv, PROGRAM, address, file], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const ended = once(sink, 'exit')
  let most_mib = 0
  const began_ms = performance.now()
  while (performance.now() - began_ms < seconds * 1e3) {
    if (sink.exitCode !== null) throw new Error(`the sink ended with ${sink.exitCode}`)
    most_mib = Math.max(most_mib, anonymousMib(sink.pid))
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  sink.kill('SIGKILL')
  await ended
  return most_mib
}
