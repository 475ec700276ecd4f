import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { rowsOf } from '../../../schemas/declare/event.ts'
import type { Fields } from '../../../schemas/declare/logical-types.ts'
import { perObject } from '../../../schemas/declare/per-object.ts'
import { offloadedBlobs, parseHeaders } from '../../../schemas/wire/headers.ts'
import { jsonCodec } from '../../../schemas/wire/json-codec.ts'
import { type Offloaded, offloadedColumns } from '../../../schemas/wire/offload.ts'
import type { LogRecord } from '../../log/port/log.ts'

/** One event as plain JSON: its place in the log, its envelope, and its rows. */
export interface PlainEvent {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly appended: string
  readonly key: string | null
  /** Absent for workers' internal records and for unreadable records. */
  readonly envelope?: Readonly<Record<string, unknown>>
  readonly rows: readonly Readonly<Record<string, unknown>>[]
  /** Columns that the rows lack, because a blob has them: reference, declared type and statistics. */
  readonly offloaded?: Readonly<Record<string, Offloaded>>
  /** Why the record cannot be read. */
  readonly unreadable?: string
}

export function plainPlace({ topic, partition, offset, appended_ms, key }: LogRecord) {
  return { topic, partition, offset: Number(offset), appended: new Date(appended_ms).toISOString(), key }
}

/** The event with all of its values. */
export function plainEvent(record: LogRecord, type: EventType, event: Event): PlainEvent {
  return { ...plainPlace(record), envelope: envelopeOf(event), rows: plainRows(event, type.row) }
}

/**
 * The event with references in place of its large columns, as the record has them. An event of an earlier version has
 * all of its values: an upcaster may have changed what the blob contains.
 */
export function referencingEvent(record: LogRecord, type: EventType, event: Event): PlainEvent {
  if (record.value === null || offloadedBlobs(record).length === 0) return plainEvent(record, type, event)
  if (parseHeaders(record.headers).written_by.version !== type.version) return plainEvent(record, type, event)
  const offloaded = offloadedColumns(record.value)
  const inline = Object.entries(type.row).filter(([name]) => !(name in offloaded))
  const rows = plainRows(event, Object.fromEntries(inline))
  return { ...plainPlace(record), envelope: envelopeOf(event), rows, offloaded }
}

function envelopeOf(event: Event): NonNullable<PlainEvent['envelope']> {
  const { id, source, version, time, clock, causes, correlation, producer_version, model_hash, seed } = event
  return { id, source, version, time, clock, causes, correlation, producer_version, model_hash, seed }
}

const codecOf = perObject(jsonCodec)

function plainRows(event: Event, fields: Fields): PlainEvent['rows'] {
  const { toJson } = codecOf(fields)
  return rowsOf(event).map((row) => toJson(row) as Record<string, unknown>)
}
