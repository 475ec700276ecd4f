import type { Data } from 'apache-arrow'
import type { Field, Range } from '../declare/logical-types.ts'
import { checkedOffsets } from './arrow-columns.ts'

/**
 * Lists of numbers, checked where they lie: the values that `validation.ts` would accept, without a JavaScript value for
 * each. For readers of an event that need its other fields.
 */

/** Whether all of the first `count` values are in the range. They may reject too much, but never too little. */
type NumbersFit = (values: unknown, count: number, range: Range) => boolean

const FITS: Readonly<Record<string, NumbersFit>> = {
  int32(values, count, { min = -(2 ** 31), max = 2 ** 31 - 1 }) {
    if (!(values instanceof Int32Array) || values.length < count) return false
    for (let at = 0; at < count; at++) {
      const value = values[at] as number
      if (value < min || value > max) return false
    }
    return true
  },
  int64(values, count, { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER }) {
    if (!(values instanceof BigInt64Array) || values.length < count) return false
    // As pairs of words: reading a bigint allocates one.
    const words = new Int32Array(values.buffer, values.byteOffset, count * 2)
    for (let at = 0; at < words.length; at += 2) {
      const high = words[at + 1] as number
      if (high <= -(2 ** 21) || high >= 2 ** 21) return false
      const value = high * 2 ** 32 + ((words[at] as number) >>> 0)
      if (value < min || value > max) return false
    }
    return true
  },
  float32(values, count, { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY }) {
    if (!(values instanceof Float32Array) || values.length < count) return false
    for (let at = 0; at < count; at++) {
      const value = values[at] as number
      // NaN and infinities minus themselves are NaN.
      if (value - value !== 0 || value < min || value > max) return false
    }
    return true
  },
}

/**
 * An empty list for each list of a column, and null for each null; undefined when its values have to be decoded to know
 * whether they are valid.
 *
 * @throws Error when the offsets are out of range
 */
export function checkedLists({ logical, nullable }: Field, column: Data): (readonly [] | null)[] | undefined {
  if (logical.kind !== 'list' || logical.item.nullable) return undefined
  const isWithin = FITS[logical.item.logical.kind]
  const items = column.children[0]
  if (isWithin === undefined || items === undefined || items.nullCount > 0 || column.offset !== 0) return undefined
  const isNull = nullsOf(column)
  if (isNull === undefined || (isNull !== NONE && !nullable)) return undefined
  const offsets = checkedOffsets(column, items.length)
  const { max_length = Number.POSITIVE_INFINITY } = logical
  for (let row = 0; row < column.length; row++) {
    if ((offsets[row + 1] as number) - (offsets[row] as number) > max_length) return undefined
  }
  if (!isWithin(items.values, items.length, logical.item.logical as Range)) return undefined
  return Array.from({ length: column.length }, (_, row) => (isNull(row) ? null : []))
}

const NONE = () => false

function nullsOf({ nullCount, nullBitmap, length }: Data): ((row: number) => boolean) | undefined {
  // Without a bitmap no value is null, even if the null count is positive.
  if (nullCount === 0 || nullBitmap === undefined || nullBitmap.length === 0) return NONE
  if (nullBitmap.length * 8 < length) return undefined
  return (row) => ((nullBitmap[row >> 3] as number) & (1 << (row & 7))) === 0
}
