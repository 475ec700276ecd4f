import { cpSync } from 'node:fs'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../infra/log/log.ts'
import type { Processor } from '../processors/processor.ts'
import type { Said } from '../sources/source.ts'
import { benchFolder } from './folder.ts'
import { appendAll, workThrough } from './tower-log.ts'

export { isRequest } from './tower-log.ts'

export interface WorkBench {
  /** Opens a copy of the log in which nothing has been processed. */
  prepare(): Promise<void>
  /** One worker starts, and commits the whole of it. */
  run(): Promise<void>
  /** The worker stops. */
  finish(): Promise<void>
  /** A copy of the log for someone else. */
  copy(): string
  close(): Promise<void>
}

/** A log that holds `inputs`, to be worked through again and again. */
export async function openWorkBench(processor: Processor, inputs: readonly Said[]): Promise<WorkBench> {
  const folder = await benchFolder()
  const template = folder.fresh('template')
  const recorded = await openLmdbLog({ dir: template })
  await appendAll(recorded, inputs, [processor])
  await recorded.close()
  const copy = () => {
    const dir = folder.fresh('log')
    cpSync(template, dir, { recursive: true, filter: (source) => !/lock(\.mdb|-word\.json)$/.test(source) })
    return dir
  }
  let log: Log | undefined
  let stop: (() => Promise<void>) | undefined
  return {
    copy,
    async prepare() {
      await log?.close()
      log = await openLmdbLog({ dir: copy() })
    },
    async run() {
      if (log !== undefined) stop = await workThrough(log, processor)
    },
    async finish() {
      await stop?.()
    },
    async close() {
      await log?.close()
      await folder.remove()
    },
  }
}
