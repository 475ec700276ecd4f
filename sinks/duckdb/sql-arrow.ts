import {
  Binary,
  Bool,
  type Data,
  DataType,
  DateDay,
  Decimal,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
  Map_,
  makeData,
  RecordBatch,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  TimestampMicrosecond,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
  Utf8,
  vectorFromArray,
} from 'apache-arrow'
import type { Plain, SqlColumn, SqlResult, SqlType } from './sql-result.ts'

/** How a DuckDB type is written: its Arrow type, and what the Arrow builder wants for a plain value. */
interface ArrowColumn {
  readonly type: DataType
  readonly value: (plain: Exclude<Plain, null>) => unknown
}

/**
 * The answer as one Arrow IPC stream, a record batch for each of the result's. DuckDB for Node can neither export
 * nor import Arrow, so the types are mapped here, as DuckDB's own export does: HUGEINT is decimal128(38, 0).
 */
export async function* arrowStream({ columns, batches }: SqlResult): AsyncGenerator<Uint8Array> {
  const written = columns.map(({ type }) => arrowColumn(type))
  const schema = new Schema(
    columns.map(({ name }, index) => new Field(name, (written[index] as ArrowColumn).type, true)),
  )
  const empty = streamOf(schema, [])
  const head = empty.subarray(0, empty.length - END_MARKER_BYTES)
  yield head
  for await (const rows of batches) {
    const children = written.map((each, column) =>
      dataOf(
        rows.map((row) => present(row[column] ?? null, each.value)),
        each.type,
      ),
    )
    const data = makeData({ type: new Struct(schema.fields), length: rows.length, nullCount: 0, children })
    const stream = streamOf(schema, [new RecordBatch(schema, data)])
    yield stream.subarray(head.length, stream.length - END_MARKER_BYTES)
  }
  yield empty.subarray(empty.length - END_MARKER_BYTES)
}

/** Continuation marker and a length of 0. */
const END_MARKER_BYTES = 8

function streamOf(schema: Schema, batches: readonly RecordBatch[]): Uint8Array {
  const writer = new RecordBatchStreamWriter()
  writer.reset(undefined, schema)
  for (const batch of batches) writer.write(batch)
  writer.finish()
  return writer.toUint8Array(true)
}

function dataOf(values: unknown[], type: DataType): Data {
  const [data] = vectorFromArray(values, builtAs(type)).data
  return data === undefined ? makeData({ type: type as Utf8, length: 0 }) : readAs(data, type)
}

/** Arrow's builder takes an instant as milliseconds; to keep the microseconds it is built as the integer that it is. */
function builtAs(type: DataType): DataType {
  const parts =
    type.children?.map((field) => new Field(field.name, builtAs(field.type as DataType), field.nullable)) ?? []
  const [first] = parts
  if (DataType.isTimestamp(type)) return new Int64()
  if (DataType.isDate(type)) return new Int32()
  if (DataType.isStruct(type)) return new Struct(parts)
  if (first === undefined) return type
  if (DataType.isList(type)) return new List(first)
  if (DataType.isFixedSizeList(type)) return new FixedSizeList(type.listSize, first)
  return new Map_(first as Field<Struct<{ key: Utf8; value: DataType }>>)
}

/** The same buffers under the type that was meant. */
function readAs(data: Data, type: DataType): Data {
  const children = data.children.map((child, index) => readAs(child, type.children[index]?.type as DataType))
  return data.clone(type, data.offset, data.length, data.nullCount, data.buffers, children)
}

const present = (plain: Plain, value: ArrowColumn['value']) => (plain === null ? null : value(plain))
const same = (plain: unknown) => plain
const number = (plain: unknown) => Number(plain)
const wide = (plain: unknown) => BigInt(plain as string)

const SCALARS: Readonly<Record<string, ArrowColumn>> = {
  BOOLEAN: { type: new Bool(), value: same },
  TINYINT: { type: new Int8(), value: same },
  SMALLINT: { type: new Int16(), value: same },
  INTEGER: { type: new Int32(), value: same },
  BIGINT: { type: new Int64(), value: wide },
  UTINYINT: { type: new Uint8(), value: same },
  USMALLINT: { type: new Uint16(), value: same },
  UINTEGER: { type: new Uint32(), value: same },
  UBIGINT: { type: new Uint64(), value: wide },
  FLOAT: { type: new Float32(), value: number },
  DOUBLE: { type: new Float64(), value: number },
  HUGEINT: { type: new Decimal(0, 38, 128), value: (plain) => decimalWords(BigInt(plain as string)) },
  DATE: { type: new DateDay(), value: daysOf },
  TIMESTAMP: { type: new TimestampMicrosecond(), value: microsOf },
  TIMESTAMP_S: { type: new TimestampMicrosecond(), value: microsOf },
  TIMESTAMP_MS: { type: new TimestampMicrosecond(), value: microsOf },
  TIMESTAMP_TZ: { type: new TimestampMicrosecond('UTC'), value: microsOf },
  BLOB: { type: new Binary(), value: (plain) => new Uint8Array(Buffer.from(plain as string, 'hex')) },
}
/** What has no Arrow type of its own here (UUID, INTERVAL, TIME, …) is written as its text. */
const TEXT: ArrowColumn = {
  type: new Utf8(),
  value: (plain) => (typeof plain === 'object' ? JSON.stringify(plain) : String(plain)),
}

function arrowColumn(type: SqlType): ArrowColumn {
  switch (type.name) {
    case 'DECIMAL': {
      const scale = type.scale ?? 0
      return {
        type: new Decimal(scale, type.width ?? 38, 128),
        value: (plain) => decimalWords(BigInt((plain as string).replace('.', ''))),
      }
    }
    case 'LIST': {
      const item = arrowColumn(type.item as SqlType)
      return { type: new List(new Field('item', item.type, true)), value: listValue(item) }
    }
    case 'ARRAY': {
      const item = arrowColumn(type.item as SqlType)
      return { type: new FixedSizeList(type.length ?? 0, new Field('item', item.type, true)), value: listValue(item) }
    }
    case 'STRUCT':
      return structColumn(type.fields ?? [])
    case 'MAP': {
      const item = arrowColumn(type.item as SqlType)
      const entries = new Struct<{ key: Utf8; value: DataType }>([
        new Field('key', new Utf8(), false),
        new Field('value', item.type, true),
      ])
      return {
        type: new Map_(new Field('entries', entries, false)),
        value: (plain) =>
          new Map(
            Object.entries(plain as { [name: string]: Plain }).map(([key, inner]) => [key, present(inner, item.value)]),
          ),
      }
    }
    default:
      return SCALARS[type.name] ?? TEXT
  }
}

function listValue(item: ArrowColumn): ArrowColumn['value'] {
  return (plain) => (plain as Plain[]).map((inner) => present(inner, item.value))
}

function structColumn(fields: readonly SqlColumn[]): ArrowColumn {
  const parts = fields.map(({ name, type }) => ({ name, column: arrowColumn(type) }))
  return {
    type: new Struct(parts.map(({ name, column }) => new Field(name, column.type, true))),
    value: (plain) => {
      const record = plain as { [name: string]: Plain }
      return Object.fromEntries(parts.map(({ name, column }) => [name, present(record[name] ?? null, column.value)]))
    },
  }
}

/** Two's complement of 128 bits, least significant word first. */
function decimalWords(value: bigint): Uint32Array {
  const bits = BigInt.asUintN(128, value)
  return Uint32Array.from({ length: 4 }, (_, word) => Number((bits >> BigInt(word * 32)) & 0xffffffffn))
}

const DAY_MS = 86_400_000

/** Days since 1970 of `2026-01-31`; infinite ones as DuckDB's own export says them. */
function daysOf(plain: unknown): number {
  const text = plain as string
  const sign = infinite(text)
  return sign === 0 ? instantOf(text, `${text}T00:00:00Z`) / DAY_MS : sign * (2 ** 31 - 1)
}

/** Microseconds since 1970 of `2026-01-31T12:00:00.123456Z`; infinite ones as DuckDB's own export says them. */
function microsOf(plain: unknown): bigint {
  const text = plain as string
  const sign = infinite(text)
  if (sign !== 0) return BigInt(sign) * (2n ** 63n - 1n)
  const [whole, fraction = ''] = text.slice(0, -1).split('.')
  return BigInt(instantOf(text, `${whole}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0').slice(0, 6))
}

const infinite = (text: string) => (text.startsWith('infinity') ? 1 : text.startsWith('-infinity') ? -1 : 0)

function instantOf(text: string, iso: string): number {
  const ms = Date.parse(iso)
  if (!Number.isNaN(ms)) return ms
  throw new RangeError(`${text}: only years 1 to 9999 can be written as Arrow; cast the column to varchar`)
}
