import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database-errors.ts'
import { catalogue, views } from '../streams/vocabulary.ts'
import { askRows } from './ask-rows.ts'
import { type DataFolder, duckdbFile } from './data-folder.ts'

/** The reader of the records below, listed with the processors. */
export const SINK = 'duckdb'

/** A record that the DuckDB sink cannot read. */
export interface UnreadableRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly ce_id: string | null
  readonly error: string
}

/** Its name on the command line: topic, partition and offset. */
export const placeNameOf = ({ topic, partition, offset }: Omit<UnreadableRecord, 'error' | 'ce_id'>) =>
  `${topic}/${partition}/${offset}`

/**
 * The records missing from a data folder's tables, read from their owner or the file; none if there is no file.
 *
 * @throws DatabaseBusyError when the file's owner does not answer.
 */
export async function* unreadableRecords(data: string): AsyncGenerator<UnreadableRecord> {
  const file = duckdbFile(resolve(data))
  if (!existsSync(file)) return
  const sql = 'SELECT topic, "partition", "offset", ce_id, error FROM internal.unreadable ORDER BY ALL'
  for await (const { topic, partition, offset, ce_id, error } of askRows(file, sql)) {
    yield {
      topic: String(topic),
      partition: Number(partition),
      offset: BigInt(String(offset)),
      ce_id: ce_id === null || ce_id === undefined ? null : String(ce_id),
      error: String(error),
    }
  }
}

/** The record itself. @throws Error when it is no longer in the log */
export async function recordAt(log: Log, { topic, partition, offset }: UnreadableRecord): Promise<LogRecord> {
  const { records } = await log.read({ topic, partition, from: offset, max_bytes: 1 })
  const [record] = records
  if (record?.offset === offset) return record
  throw new Error(`${topic} partition ${partition} offset ${offset} is not in the log any more`)
}

/**
 * Reads all of them again, unless a running owner does so itself.
 * @returns whether this process read them again
 */
export async function rereadUnreadable({ duckdb_file, log, blobs }: DataFolder): Promise<boolean> {
  const { openDuckDbSink } = await import('../sinks/duckdb/duckdb-sink.ts')
  try {
    const sink = await openDuckDbSink({ file: duckdb_file, log, catalogue, views, blobs, serve: false, wait_ms: 500 })
    try {
      await sink.reread()
    } finally {
      await sink.close()
    }
    return true
  } catch (error) {
    if (error instanceof DatabaseBusyError) return false
    throw error
  }
}
