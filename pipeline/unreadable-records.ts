import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database-errors.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'
import { PlaceBusyError } from '../sinks/sink-place.ts'
import type { Place, UnreadableRecord } from '../sinks/unreadable-record.ts'
import { catalogue, views } from '../streams/vocabulary.ts'
import { askRows } from './ask-rows.ts'
import { type DataFolder, duckdbFile } from './data-folder.ts'
import { expectSink, type PositionPlaces } from './sink-positions.ts'
import type { SinkPlaces } from './sinks.ts'

/** The DuckDB sink, listed with the processors. */
export const SINK = 'duckdb'

/** A record that a sink cannot read. */
export interface ListedRecord extends UnreadableRecord {
  /** The name of the sink. */
  readonly sink: string
}

/** Its name on the command line: topic, partition and offset. */
export const placeNameOf = ({ topic, partition, offset }: Place) => `${topic}/${partition}/${offset}`

/**
 * The records that sinks list as unreadable: the DuckDB sink of a data folder, if there is one, and those at `places`.
 *
 * @throws DatabaseBusyError when the owner of the DuckDB file does not answer; UsageError when one of `places` is none
 *   of that sink
 */
export async function* unreadableRecords({ data, places }: PositionPlaces): AsyncGenerator<ListedRecord> {
  for (const kind of SINK_KINDS) {
    const place = places[kind.name]
    if (place === undefined) continue
    await expectSink(kind, place)
    for (const record of await kind.unreadable(resolve(place))) yield { ...record, sink: kind.name }
  }
  yield* missingInTables(data)
}

async function* missingInTables(data: string): AsyncGenerator<ListedRecord> {
  const file = duckdbFile(resolve(data))
  if (!existsSync(file)) return
  const sql = 'SELECT topic, "partition", "offset", ce_id, error FROM internal.unreadable ORDER BY ALL'
  for await (const { topic, partition, offset, ce_id, error } of askRows(file, sql)) {
    yield {
      sink: SINK,
      topic: String(topic),
      partition: Number(partition),
      offset: BigInt(String(offset)),
      ce_id: ce_id === null || ce_id === undefined ? null : String(ce_id),
      error: String(error),
    }
  }
}

/** The record itself. @throws Error when it is no longer in the log */
export async function recordAt(log: Log, { topic, partition, offset }: Place): Promise<LogRecord> {
  const { records } = await log.read({ topic, partition, from: offset, max_bytes: 1 })
  const [record] = records
  if (record?.offset === offset) return record
  throw new Error(`${topic} partition ${partition} offset ${offset} is not in the log any more`)
}

/**
 * Has a sink read all of its unreadable records again, unless a running owner does so itself.
 *
 * @returns whether this process read them again
 */
export async function rereadUnreadable(sink: string, folder: DataFolder, places: SinkPlaces): Promise<boolean> {
  try {
    const opened = await openSink(sink, folder, places)
    try {
      await opened.reread()
    } finally {
      await opened.close()
    }
    return true
  } catch (error) {
    if (error instanceof DatabaseBusyError || error instanceof PlaceBusyError) return false
    throw error
  }
}

async function openSink(name: string, { duckdb_file, log, blobs }: DataFolder, places: SinkPlaces) {
  const kind = SINK_KINDS.find((one) => one.name === name)
  if (kind !== undefined) return await kind.open(resolve(places[name] as string), { log, blobs, catalogue })
  const { openDuckDbSink } = await import('../sinks/duckdb/duckdb-sink.ts')
  return await openDuckDbSink({ file: duckdb_file, log, catalogue, views, blobs, serve: false, wait_ms: 500 })
}
