import { cpSync } from 'node:fs'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../infra/log/port/log.ts'
import type { Processor } from '../processors/processor.ts'
import type { Emitted } from '../sources/source.ts'
import { benchFolder } from './folder.ts'
import type { Side } from './pairs.ts'
import { appendAll, isRequest, workThrough } from './tower-log.ts'

export interface WorkBench {
  /** How many groups the log asks for. */
  readonly groups: number
  /** One worker, on a fresh copy of the log in which nothing is processed, until it has committed all of it. */
  readonly candidate: Side
  /** Makes another copy of the log and returns its folder. */
  copy(): string
  close(): Promise<void>
}

/** A log of `inputs`, which can be processed again and again. */
export async function openWorkBench(processor: Processor, inputs: readonly Emitted[]): Promise<WorkBench> {
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
  const groups = inputs.filter(isRequest).length
  return {
    groups,
    copy,
    candidate: {
      what: 'worker',
      async prepare() {
        await log?.close()
        log = await openLmdbLog({ dir: copy() })
      },
      async run() {
        if (log !== undefined) stop = await workThrough(log, processor)
        return groups
      },
      async finish() {
        await stop?.()
      },
    },
    async close() {
      await log?.close()
      await folder.remove()
    },
  }
}
