import {
  type DataType,
  makeBuilder,
  makeData,
  RecordBatch,
  RecordBatchStreamWriter,
  type Schema,
  Struct,
  tableFromIPC,
} from 'apache-arrow'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import type { Event, EventType } from '../schemas/declare/event.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { arrowCodec, type Row } from '../schemas/wire/arrow-codec.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import type { Measure, OpenBench } from './pairs.ts'
import { emittedBy, sampledGroups, vocabulary } from './tower-log.ts'

/**
 * Batches of sixteen rows, of each batch type of the loop: the Arrow stream alone, and the whole event with validation
 * and headers. The ceiling does neither validation nor headers.
 */
export const open: OpenBench = async ({ quick }) => {
  const turns = quick ? 2 : 40
  const events = await sampledGroups(16)
  const scored = await emittedBy(scoreCompletions(await paperScorer()), events)
  const batches = [...events, ...scored].filter(({ type }) => type.encoding === 'arrow').map(({ event }) => event)
  return { measures: [completionsSampled, completionsScored].flatMap((type) => measuresOf(type, batches, turns)) }
}

function measuresOf(type: EventType, all: readonly Event[], turns: number): Measure[] {
  const events = all.filter((event) => event.type === type.type)
  const batches = events.map(({ data }) => data as unknown as Row[])
  const { schema, encode, decode } = arrowCodec(type.row)
  const streams = batches.map((rows) => encode(rows).bytes)
  const records = events.map((event) => encodeEvent(type, event))
  const many =
    <T>(items: readonly T[], act: (item: T) => unknown) =>
    () => {
      for (let turn = 0; turn < turns; turn++) for (const item of items) act(item)
      return turns * items.length
    }
  const builders = { what: 'apache-arrow’s builders', run: many(batches, (rows) => encodeWithBuilders(schema, rows)) }
  const reader = { what: 'apache-arrow’s reader', run: many(streams, decodeWithReader) }
  const shared = { unit: 'batches', seconds: 'cpu' } as const
  return [
    {
      ...shared,
      what: `encode ${type.type}, 16 rows to Arrow`,
      goal: 3,
      candidate: { what: 'arrowCodec', run: many(batches, encode) },
      ceiling: builders,
    },
    {
      ...shared,
      what: `encode ${type.type}, validated, with headers`,
      goal: 3,
      candidate: { what: 'encodeEvent', run: many(events, (event) => encodeEvent(type, event)) },
      ceiling: builders,
    },
    {
      ...shared,
      what: `decode ${type.type}, 16 rows from Arrow`,
      goal: 2,
      candidate: { what: 'arrowCodec', run: many(streams, (bytes) => decode(bytes, () => undefined, true)) },
      ceiling: reader,
    },
    {
      ...shared,
      what: `decode ${type.type}, validated, with headers`,
      goal: 2,
      candidate: { what: 'decodeEvent', run: many(records, (record) => decodeEvent(record, vocabulary)) },
      ceiling: reader,
    },
  ]
}

/** A builder per column, as in the library's documentation. */
function encodeWithBuilders(schema: Schema, rows: readonly Row[]): Uint8Array {
  const children = schema.fields.map(({ name, type }) => {
    const builder = makeBuilder<DataType>({ type, nullValues: [null, undefined] })
    for (const row of rows) builder.append(forBuilder(row[name]))
    builder.finish()
    return builder.flush()
  })
  const data = makeData({ type: new Struct(schema.fields), length: rows.length, children })
  const writer = new RecordBatchStreamWriter()
  writer.write(new RecordBatch(schema, data))
  writer.finish()
  return writer.toUint8Array(true)
}

/** A map's builder takes a Map, a struct's an object. */
function forBuilder(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || 'x' in value) return value
  return new Map(Object.entries(value))
}

/** The rows as plain objects, as the codec returns them. */
function decodeWithReader(bytes: Uint8Array): unknown[] {
  const rows: unknown[] = []
  for (const row of tableFromIPC(bytes)) rows.push(row?.toJSON())
  return rows
}
