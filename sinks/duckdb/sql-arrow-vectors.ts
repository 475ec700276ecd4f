import { type DuckDBArrayType, DuckDBTypeId, type DuckDBUnionType } from '@duckdb/node-api'
import { BufferType, Data, DataType } from 'apache-arrow'
import {
  bits,
  decimals,
  eachRow,
  encoded,
  fixed,
  isSet,
  micros,
  type Rows,
  type Source,
  type Strings,
  strings,
  type Valid,
  validityOf,
  wideIntegers,
} from './sql-arrow-buffers.ts'
import type { Opened } from './sql-arrow-opened.ts'

/**
 * Rows of a vector as Arrow data of the type that `arrowType` gives.
 *
 * @throws TooLargeError, TooWideError
 */
export function arrowData(arrow: DataType, source: Source): Data {
  const valid = validityOf(source)
  const { rows, vector } = source
  switch (vector.type.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return flat(arrow, rows, valid, bits(source))
    case DuckDBTypeId.TIMESTAMP_S:
      return flat(arrow, rows, valid, micros(source, 1_000_000n))
    case DuckDBTypeId.TIMESTAMP_MS:
      return flat(arrow, rows, valid, micros(source, 1_000n))
    case DuckDBTypeId.DECIMAL:
      return flat(arrow, rows, valid, decimals(source))
    case DuckDBTypeId.HUGEINT:
    case DuckDBTypeId.UHUGEINT:
      return DataType.isDecimal(arrow)
        ? flat(arrow, rows, valid, wideIntegers(source, valid))
        : ofTexts(arrow, rows, valid, spelled(source, valid))
    case DuckDBTypeId.VARCHAR:
    case DuckDBTypeId.BLOB:
    case DuckDBTypeId.GEOMETRY:
      return ofTexts(arrow, rows, valid, strings(source, valid))
    case DuckDBTypeId.LIST: {
      const { offsets, rows: elements } = entriesOf(source, valid)
      return nested(arrow, rows, valid, [childData(arrow, source, 0, elements)], offsets)
    }
    case DuckDBTypeId.MAP:
      return ofMap(arrow, source, valid)
    case DuckDBTypeId.ARRAY:
      return ofArray(arrow, source, valid)
    case DuckDBTypeId.STRUCT: {
      const fields = { ...rows, present: valid.bitmap }
      return nested(
        arrow,
        rows,
        valid,
        vector.children.map((_, at) => childData(arrow, source, at, fields)),
      )
    }
    case DuckDBTypeId.UNION:
      return ofUnion(arrow, source, valid)
    default:
      return vector.spelled === undefined
        ? flat(arrow, rows, valid, fixed(source))
        : ofTexts(arrow, rows, valid, spelled(source, valid))
  }
}

function childData(arrow: DataType, { vector, budget }: Source, at: number, rows: Rows): Data {
  return arrowData(childOf(arrow, at), { vector: vector.children[at] as Opened, rows, budget })
}

type Values = Uint8Array | BigInt64Array

/** Views the same bytes as the typed array that Arrow expects. */
function flat(arrow: DataType, { count }: Rows, valid: Valid, values: Values): Data {
  const { ArrayType } = arrow
  const words = new ArrayType(values.buffer, values.byteOffset, values.byteLength / ArrayType.BYTES_PER_ELEMENT)
  return new Data(arrow, 0, count, valid.nulls, { [BufferType.DATA]: words, ...bitmapOf(valid) })
}

function ofTexts(arrow: DataType, { count }: Rows, valid: Valid, { offsets, bytes }: Strings): Data {
  const buffers = { [BufferType.OFFSET]: offsets, [BufferType.DATA]: bytes, ...bitmapOf(valid) }
  return new Data(arrow, 0, count, valid.nulls, buffers)
}

function nested(arrow: DataType, { count }: Rows, valid: Valid, children: Data[], offsets?: Int32Array): Data {
  const buffers = { ...(offsets === undefined ? {} : { [BufferType.OFFSET]: offsets }), ...bitmapOf(valid) }
  return new Data(arrow, 0, count, valid.nulls, buffers, children)
}

const bitmapOf = ({ bitmap }: Valid) => (bitmap === undefined ? {} : { [BufferType.VALIDITY]: bitmap })
const childOf = (arrow: DataType, at: number) => arrow.children[at]?.type as DataType

/** Values of a type without an Arrow form, as text from DuckDB's client. */
function spelled({ vector, rows, budget }: Source, valid: Valid): Strings {
  budget.take(rows.count)
  const texts: string[] = []
  eachRow(rows, (row, place) => texts.push(isSet(valid.bitmap, row) ? spelledAt(vector, place) : ''))
  return encoded(texts, budget)
}

function spelledAt({ type, spelled, data }: Opened, place: number): string {
  if (spelled !== undefined) return String(spelled.getItem(place))
  const words = new DataView(data.buffer, data.byteOffset + place * 16, 16)
  const high = type.typeId === DuckDBTypeId.HUGEINT ? words.getBigInt64(8, true) : words.getBigUint64(8, true)
  return String((high << 64n) | words.getBigUint64(0, true))
}

/** Offsets of the rows' lists, and their elements in the child vector. There, lists may overlap and be in any order. */
function entriesOf({ vector: { data }, rows, budget }: Source, valid: Valid): { offsets: Int32Array; rows: Rows } {
  budget.take((rows.count + 1) * 4)
  const entries = new BigUint64Array(data.buffer, data.byteOffset, data.byteLength / 8)
  const offsets = new Int32Array(rows.count + 1)
  const ranges: number[] = []
  let count = 0
  eachRow(rows, (row, place) => {
    const length = isSet(valid.bitmap, row) ? Number(entries[place * 2 + 1]) : 0
    if (length > 0) {
      const first = Number(entries[place * 2])
      const last = ranges.length - 2
      if (last >= 0 && (ranges[last] as number) + (ranges[last + 1] as number) === first) {
        ranges[last + 1] = (ranges[last + 1] as number) + length
      } else ranges.push(first, length)
    }
    count += length
    offsets[row + 1] = count
  })
  return { offsets, rows: { ranges, count } }
}

/** DuckDB stores a map as a list of structs of a key and a value. */
function ofMap(arrow: DataType, source: Source, valid: Valid): Data {
  const { offsets, rows } = entriesOf(source, valid)
  const entry = childOf(arrow, 0)
  const parts = [0, 1].map((at) => childData(entry, source, at, rows))
  return nested(arrow, source.rows, valid, [nested(entry, rows, ALL, parts)], offsets)
}

const ALL: Valid = { nulls: 0, bitmap: undefined }

function ofArray(arrow: DataType, source: Source, valid: Valid): Data {
  const { rows, budget, vector } = source
  const { length } = vector.type as DuckDBArrayType
  const count = rows.count * length
  budget.take(count)
  const ranges = rows.ranges.map((each) => each * length)
  const elements = { ranges, count, present: stretched(valid.bitmap, rows.count, length) }
  return nested(arrow, rows, valid, [childData(arrow, source, 0, elements)])
}

/** Repeats each bit `times` times. */
function stretched(bitmap: Uint8Array | undefined, count: number, times: number): Uint8Array | undefined {
  if (bitmap === undefined) return undefined
  const to = new Uint8Array(Math.ceil((count * times) / 8))
  for (let at = 0; at < count * times; at += 1) {
    if (isSet(bitmap, Math.floor(at / times))) to[at >> 3] = (to[at >> 3] as number) | (1 << (at & 7))
  }
  return to
}

/** DuckDB stores a union as a struct: the number of the member that is set, then the members. */
function ofUnion(arrow: DataType, source: Source, valid: Valid): Data {
  const { vector, budget } = source
  const { memberTags } = vector.type as DuckDBUnionType
  const rows = { ...source.rows, present: valid.bitmap }
  const numbers = fixed({ vector: vector.children[0] as Opened, rows, budget })
  const texts = [...numbers].map((number, row) => (isSet(valid.bitmap, row) ? (memberTags[number] ?? '') : ''))
  // A copy: Arrow's writer takes the same bytes twice in a row for a mistake, and omits one of them.
  const tag = ofTexts(childOf(arrow, 0), rows, { ...valid, bitmap: valid.bitmap?.slice() }, encoded(texts, budget))
  const members = memberTags.map((_, at) => childData(arrow, source, at + 1, rows))
  return nested(arrow, source.rows, valid, [tag, ...members])
}
