import type { LogRecord } from '../../infra/log/port/log.ts'
import { decodeRecord } from '../../infra/runtime/execute/decode-record.ts'
import { ForeignRecordError } from '../../infra/runtime/internal/foreign-record.ts'
import { deadLetterIn } from '../../infra/runtime/internal/internal-records.ts'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import type { RerunOptions } from '../../infra/runtime/state/rerun.ts'
import { type Event, type EventType, rowsOf } from '../../schemas/declare/event.ts'
import { tableOf, valueReader } from '../../schemas/derive/duckdb-table.ts'
import { qualified } from '../../schemas/derive/sql-quoting.ts'
import { PoisonError } from '../../schemas/wire/codec.ts'
import { isMadeFor } from './event-tables.ts'
import { ENVELOPE } from './table-rows.ts'

/** The table of a topic, and the rows it should have for a record. */
export interface ComparedTable {
  readonly topic: string
  /** As SQL. */
  readonly name: string
  readonly columns: readonly string[]
  /** As SQL: the sort order of the rows of one record. */
  readonly order: string
  expected(record: LogRecord): Promise<Expected | Unreadable>
}

export interface Expected {
  /** If the record has no rows of its own, another record with this id has them. */
  readonly ce_id: string | undefined
  readonly rows: readonly ((column: string) => unknown)[]
}

/** Why a record has no rows. */
export interface Unreadable {
  readonly unreadable: string
}

export function eventTable(type: EventType, { vocabulary, partitions, blobs }: RerunOptions): ComparedTable {
  const { schema, table, columns } = tableOf(type)
  const readers = new Map(columns.map(({ name }) => [name, valueReader(type, name)]))
  return {
    topic: type.type,
    name: qualified(schema, table),
    columns: columns.map(({ name }) => name),
    order: '"row"',
    async expected(record) {
      try {
        const event = await decodeRecord(record, vocabulary, partitions, blobs)
        return { ce_id: event.id, rows: rowsExpected(event, record, readers) }
      } catch (error) {
        if (error instanceof PoisonError) return { unreadable: error.message }
        throw error
      }
    },
  }
}

function rowsExpected(
  event: Event,
  record: LogRecord,
  readers: ReadonlyMap<string, ReturnType<typeof valueReader>>,
): Expected['rows'] {
  return rowsOf(event).map((row, at) => (column: string) => {
    if (column === 'row') return at
    const envelope = ENVELOPE[column]
    return envelope === undefined ? readers.get(column)?.(row) : envelope(event, record)
  })
}

const LETTER_COLUMNS = [
  ...['log_partition', 'log_offset', 'processor', 'failure', 'topic', 'partition', 'offset'],
  ...['error', 'ce_id', 'ce_type', 'rows', 'key'],
]

/** @param partitions of the topic */
export function deadLetterTable(partitions: number): ComparedTable {
  return {
    topic: DEAD_LETTERS_TOPIC,
    name: 'internal.dead_letters',
    columns: LETTER_COLUMNS,
    order: 'log_offset',
    async expected(record) {
      try {
        const place = { log_partition: record.partition, log_offset: record.offset }
        const columns: Readonly<Record<string, unknown>> = { ...deadLetterIn(record, partitions), ...place }
        return { ce_id: undefined, rows: [(column) => columns[column]] }
      } catch (error) {
        if (error instanceof ForeignRecordError) return { unreadable: error.message }
        throw error
      }
    },
  }
}

/**
 * Why the table of an event cannot be compared; undefined when it can.
 * @param made `internal.meta`
 */
export function whyNotCompared(type: EventType, made: ReadonlyMap<string, string>): string | undefined {
  if (made.has(`building:${type.type}`)) return 'it is being rebuilt'
  const table = made.get(`table:${type.type}`)
  if (table === undefined) return 'it does not exist yet; the next run makes it'
  return isMadeFor(type, table) ? undefined : 'it has the columns of another release; the next run rebuilds it'
}
