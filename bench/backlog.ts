import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { backlogProcessor } from './backlog-worker.ts'
import { benchFolder } from './folder.ts'
import { anonymousMib } from './memory.ts'
import type { OpenBench } from './pairs.ts'
import { fillRenamed } from './renamed.ts'
import { PARTITIONS, sampledGroups } from './tower-log.ts'

const MIB = 2 ** 20

/** Anonymous memory of a worker with a backlog of 2 GiB of requests and completions. */
export const open: OpenBench = async ({ quick }) => {
  const folder = await benchFolder()
  const dir = folder.fresh('log')
  const mib = quick ? 8 : 2048
  await fill(dir, mib * MIB)
  return {
    measures: [],
    gauges: [
      {
        what: `worker on a backlog of ${mib} MiB, score-completions, anonymous memory`,
        unit: 'MiB',
        goal: 500,
        values: async () => [await mostMemory(dir)],
      },
    ],
    close: () => folder.remove(),
  }
}

/** Appends the same 200 groups again and again, each time under new names. */
async function fill(dir: string, bytes: number): Promise<void> {
  const processor = await backlogProcessor()
  const groups = (await sampledGroups(200)).filter(({ type }) =>
    processor.inputs.some((input) => input.type === type.type),
  )
  const log = await openLmdbLog({ dir, durability: 'survives_kill_only' })
  await log.createTopics(topicsOf(catalogue, [processor], PARTITIONS))
  await fillRenamed(log, groups, bytes)
  await log.close()
}

/** Runs the worker in a separate process and reads its memory twenty times a second. */
async function mostMemory(dir: string): Promise<number> {
  const program = new URL('./backlog-worker.ts', import.meta.url).pathname
  // With the flags of `npm run bench`, which are those of `./plumbline`.
  const flags = process.execArgv
  const worker = spawn(process.execPath, [...flags, program, dir], { stdio: ['ignore', 'inherit', 'inherit'] })
  let most_mib = 0
  const watch = setInterval(() => {
    most_mib = Math.max(most_mib, anonymousMib(worker.pid))
  }, 50)
  const [code] = await once(worker, 'exit')
  clearInterval(watch)
  if (code !== 0) throw new Error(`the worker on the backlog ended with ${code}`)
  return most_mib
}
