/** A process that a damaged log may end: reads the log of each folder named on a line, and writes the result. */
import { createInterface } from 'node:readline'
import { openLmdbLog } from '../../../infra/log/lmdb/lmdb-log.ts'
import { recordsIn } from '../../../testing/damaged-logs.ts'

export interface Opened {
  /** `none`, `damage named`, or the error's name. */
  readonly error: string
  readonly message: string
  readonly records: Readonly<Record<string, string>>
}

async function open(dir: string): Promise<Opened> {
  let records = {}
  try {
    const log = await openLmdbLog({ dir, access: 'read' })
    try {
      const { damaged = [] } = (await log.integrity?.()) ?? {}
      if (damaged[0] !== undefined) return { error: 'damage named', message: damaged[0].problem, records }
      records = Object.fromEntries(await recordsIn(log))
    } finally {
      await log.close()
    }
  } catch (error) {
    return { error: (error as Error).name, message: (error as Error).message, records }
  }
  return { error: 'none', message: '', records }
}

for await (const line of createInterface(process.stdin)) {
  process.stdout.write(`${JSON.stringify(await open(JSON.parse(line)))}\n`)
}
