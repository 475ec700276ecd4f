import { DuckDBTypeId } from '@duckdb/node-api'
import duckdb from '@duckdb/node-bindings'
import type { Budget } from './sql-arrow-budget.ts'
import { type Opened, widthOf } from './sql-arrow-opened.ts'

/**
 * Copies rows of DuckDB's vectors into Arrow's buffers without a JavaScript value for each: numbers, instants and texts
 * have the same bytes in both.
 */

/** Rows of a vector, as ranges of positions: [first, count, first, count, …]. */
export interface Rows {
  readonly ranges: readonly number[]
  readonly count: number
  /** A bit per row, 0 where the enclosing value is NULL: the data there is undefined. */
  readonly present?: Uint8Array | undefined
}

/** A 128-bit integer that does not fit decimal128(38, 0). */
export class TooWideError extends Error {}

export interface Source {
  readonly vector: Opened
  readonly rows: Rows
  readonly budget: Budget
}

export interface Valid {
  readonly nulls: number
  readonly bitmap: Uint8Array | undefined
}

export const isSet = (bitmap: Uint8Array | undefined, at: number): boolean =>
  bitmap === undefined || ((bitmap[at >> 3] as number) & (1 << (at & 7))) !== 0

/** Calls `visit` with each row and its position in the vector. */
export function eachRow({ ranges }: Rows, visit: (row: number, place: number) => void): void {
  let row = 0
  for (let range = 0; range < ranges.length; range += 2) {
    const first = ranges[range] as number
    const end = first + (ranges[range + 1] as number)
    for (let place = first; place < end; place += 1) visit(row++, place)
  }
}

/** Which rows hold a value: neither the row nor an enclosing value is NULL. */
export function validityOf({ vector: { validity }, rows, budget }: Source): Valid {
  if (validity === undefined && rows.present === undefined) return { nulls: 0, bitmap: undefined }
  budget.take(Math.ceil(rows.count / 8))
  const bitmap = new Uint8Array(Math.ceil(rows.count / 8))
  let nulls = rows.count
  eachRow(rows, (row, place) => {
    if (!isSet(validity, place) || !isSet(rows.present, row)) return
    bitmap[row >> 3] = (bitmap[row >> 3] as number) | (1 << (row & 7))
    nulls -= 1
  })
  return nulls === 0 ? { nulls, bitmap: undefined } : { nulls, bitmap }
}

/** The bytes of the rows, at the fixed width of the type. */
export function fixed({ vector: { type, data: from }, rows, budget }: Source): Uint8Array {
  const width = widthOf(type) ?? 0
  budget.take(rows.count * width)
  const to = new Uint8Array(rows.count * width)
  let at = 0
  for (let range = 0; range < rows.ranges.length; range += 2) {
    const first = (rows.ranges[range] as number) * width
    const length = (rows.ranges[range + 1] as number) * width
    to.set(from.subarray(first, first + length), at)
    at += length
  }
  return to
}

/** Packs one byte per row into one bit. */
export function bits(source: Source): Uint8Array {
  const bytes = fixed(source)
  const to = new Uint8Array(Math.ceil(bytes.length / 8))
  for (let row = 0; row < bytes.length; row += 1) {
    if (bytes[row] !== 0) to[row >> 3] = (to[row >> 3] as number) | (1 << (row & 7))
  }
  return to
}

const FOREVER = 2n ** 63n - 1n

/** Instants in seconds or milliseconds as microseconds; infinite ones are unchanged. */
export function micros(source: Source, factor: bigint): BigInt64Array {
  const values = as(BigInt64Array, fixed(source))
  return values.map((value) => (value === FOREVER || value === -FOREVER ? value : BigInt.asIntN(64, value * factor)))
}

/** DuckDB stores a decimal in as few bytes as its digits need, Arrow's decimal128 always in sixteen. */
export function decimals(source: Source): Uint8Array {
  const width = widthOf(source.vector.type) ?? 0
  if (width === 16) return fixed(source)
  source.budget.take(source.rows.count * 16)
  const to = new Int32Array(source.rows.count * 4)
  if (width === 8) {
    const from = as(Int32Array, fixed(source))
    for (let row = 0; row < source.rows.count; row += 1) {
      const high = from[row * 2 + 1] as number
      to[row * 4] = from[row * 2] as number
      to[row * 4 + 1] = high
      to.fill(high >> 31, row * 4 + 2, row * 4 + 4)
    }
    return new Uint8Array(to.buffer)
  }
  const from = width === 4 ? as(Int32Array, fixed(source)) : as(Int16Array, fixed(source))
  for (let row = 0; row < source.rows.count; row += 1) {
    const value = from[row] as number
    to[row * 4] = value
    to.fill(value >> 31, row * 4 + 1, row * 4 + 4)
  }
  return new Uint8Array(to.buffer)
}

const DECIMAL_LIMIT = 10n ** 38n

/**
 * HUGEINT and UHUGEINT as decimal128(38, 0): the same bytes, if they have at most 38 digits.
 *
 * @throws TooWideError
 */
export function wideIntegers(source: Source, valid: Valid): Uint8Array {
  const signed = source.vector.type.typeId === DuckDBTypeId.HUGEINT
  const bytes = fixed(source)
  const words = as(BigInt64Array, bytes)
  for (let row = 0; row < source.rows.count; row += 1) {
    if (!isSet(valid.bitmap, row)) continue
    const high = words[row * 2 + 1] as bigint
    const value = (signed ? high : BigInt.asUintN(64, high)) * 2n ** 64n + BigInt.asUintN(64, words[row * 2] as bigint)
    if (value >= DECIMAL_LIMIT || value <= -DECIMAL_LIMIT) throw new TooWideError()
  }
  return bytes
}

/** DuckDB's string_t: a length, then 12 bytes with the text, or its prefix and a pointer to it. */
const STRING_BYTES = 16
const INLINE_BYTES = 12

export interface Strings {
  readonly offsets: Int32Array
  readonly bytes: Uint8Array
}

export function strings({ vector: { data }, rows, budget }: Source, valid: Valid): Strings {
  budget.take((rows.count + 1) * 4)
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const offsets = new Int32Array(rows.count + 1)
  let end = 0
  eachRow(rows, (row, place) => {
    const length = isSet(valid.bitmap, row) ? view.getUint32(place * STRING_BYTES, true) : 0
    budget.take(length)
    end += length
    offsets[row + 1] = end
  })
  const bytes = new Uint8Array(end)
  eachRow(rows, (row, place) => {
    const at = offsets[row] as number
    const length = (offsets[row + 1] as number) - at
    if (length === 0) return
    const start = place * STRING_BYTES + 4
    const text =
      length <= INLINE_BYTES
        ? data.subarray(start, start + length)
        : duckdb.get_data_from_pointer(data.buffer as ArrayBuffer, data.byteOffset + start + 4, length)
    bytes.set(text, at)
  })
  return { offsets, bytes }
}

const ENCODER = new TextEncoder()

/** Encodes texts that were created in JavaScript. */
export function encoded(texts: readonly string[], budget: Budget): Strings {
  budget.take((texts.length + 1) * 4)
  const offsets = new Int32Array(texts.length + 1)
  const parts = texts.map((text, row) => {
    const part = ENCODER.encode(text)
    budget.take(part.length)
    offsets[row + 1] = (offsets[row] as number) + part.length
    return part
  })
  return { offsets, bytes: Buffer.concat(parts) }
}

type Words<T> = new (buffer: ArrayBufferLike, offset: number, length: number) => T

/** Views bytes as words. The bytes were allocated here, so they are aligned. */
function as<T>(type: Words<T> & { readonly BYTES_PER_ELEMENT: number }, bytes: Uint8Array): T {
  return new type(bytes.buffer, bytes.byteOffset, bytes.byteLength / type.BYTES_PER_ELEMENT)
}
