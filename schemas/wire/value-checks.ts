import { z } from 'zod'
import type { Length, Range, Sides } from '../declare/logical-types.ts'
import { isAtMost, lengthText, rangeText } from './bounds.ts'

/** Checks of single values. Each `error` is the text after "expected" in a message. */

const expect = (expected: string) => ({ error: expected })

const TIME = expect('a UTC time in RFC 3339 with milliseconds, like 2026-01-31T12:00:00.000Z')
const HASH = expect('a SHA-256 in 64 lower-case hexadecimal digits')
const MEDIA = expect('a media type, like image/png')
const BYTES = expect('a number of bytes, 0 … 2⁵³−1')

/** Excludes the year 0, which Python's dates do not have. */
const RFC3339_MS = /^(?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

/** Also rejects days that do not exist, such as 30 February: they would be read back as other days. */
export function isTimestamp(text: string): boolean {
  if (!RFC3339_MS.test(text)) return false
  const two = (at: number) => (text.charCodeAt(at) - 48) * 10 + text.charCodeAt(at + 1) - 48
  const month = two(5)
  const isLeap = two(2) % 4 === 0 && (two(2) !== 0 || two(0) % 4 === 0)
  const days = month === 2 && isLeap ? 29 : (DAYS[month] ?? 0)
  return two(8) >= 1 && two(8) <= days && two(11) <= 23 && two(14) <= 59 && two(17) <= 59
}
const DAYS = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

const SHA256 = /^[0-9a-f]{64}$/
export const isSha256 = (text: string) => SHA256.test(text)

const MEDIA_TYPE = /^[\w.+-]+\/[\w.+-]+(;.*)?$/
export const isMediaType = (text: string) => MEDIA_TYPE.test(text)

/** A lone surrogate has no UTF-8 encoding: it would be read back as another text. */
const isWhole = (text: string) => text.isWellFormed()

export const boolCheck = z.boolean(expect('true or false'))
/** A number check with a range. A number outside the range gets a message that names type (`what`) and range. */
function rangeCheck(number: z.ZodType<number>, what: string, range: Range): z.ZodType<number> {
  const bounds = rangeText(range)
  if (bounds === undefined) return number
  const { min = -Infinity, max = Infinity } = range
  return number.refine((value) => value >= min && value <= max, expect(`${what}, ${bounds}`))
}

const INT32 = 'an integer of 32 bits'
const INT64 = 'an integer within ±(2⁵³−1)'
const FLOAT64 = 'a finite float64'
const FLOAT32 = 'a finite float32 (round it with Math.fround)'
export const int32Check = (range: Range) => rangeCheck(z.int32(expect(INT32)), INT32, range)
export const int64Check = (range: Range) => rangeCheck(z.int(expect(INT64)), INT64, range)
export const float64Check = (range: Range) => rangeCheck(z.float64(expect(FLOAT64)), FLOAT64, range)
/** Rejects a value that float32 cannot represent exactly: it would be read back changed. */
export const float32Check = (range: Range) =>
  rangeCheck(
    z.float64(expect(FLOAT32)).refine((value) => Math.fround(value) === value, expect(FLOAT32)),
    FLOAT32,
    range,
  )

const TEXT = 'a text of whole Unicode characters'
export function textCheck({ max_length }: Length): z.ZodType<string> {
  const text = z.string(expect(TEXT)).refine(isWhole, expect(TEXT))
  if (max_length === undefined) return text
  return text.refine((value) => isAtMost(value, max_length), expect(lengthText({ max_length }, 'characters') as string))
}
export const timestampCheck = z.string(TIME).refine(isTimestamp, TIME)
export const oneOfCheck = (values: readonly string[]) => z.enum(values, expect(`one of ${values.join(', ')}`))

const sha256Check = z.string(HASH).regex(SHA256, HASH)
const blobShape = {
  sha256: sha256Check,
  bytes: z.int(BYTES).min(0, BYTES),
  media_type: z.string(MEDIA).regex(MEDIA_TYPE, MEDIA),
}
export const blobCheck = recordCheck(blobShape)
export function imageCheck({ max_side }: Sides): z.ZodType {
  const range = { min: 1, ...(max_side === undefined ? {} : { max: max_side }) }
  const pixels = expect(`a number of pixels, ${rangeText(range)}`)
  const side = z
    .int32(pixels)
    .min(1, pixels)
    .max(max_side ?? 2 ** 31 - 1, pixels)
  return recordCheck({ ...blobShape, width: side, height: side, pixels_sha256: sha256Check })
}

/** Exactly these fields: each present (null is a value, absence is not), and no other. */
export function recordCheck(shape: { readonly [name: string]: z.ZodType }): z.ZodType {
  return z.strictObject(shape, expect(`an object with ${Object.keys(shape).join(', ')}`))
}

/** Checks the length first: a list that is too long is rejected without checking its items. */
export function listCheck(item: z.ZodType, max_length: number | undefined): z.ZodType {
  const list = z.array(item, expect('an array'))
  if (max_length === undefined) return list
  const tooLong = (value: unknown) => Array.isArray(value) && value.length > max_length
  return z.custom((value) => !tooLong(value), expect(lengthText({ max_length }, 'items') as string)).pipe(list)
}

const KEYS = expect('an object whose keys are texts of whole Unicode characters, none of them __proto__')

/** Rejects `__proto__` before zod's record check, which would silently drop it. */
export function mapCheck(value: z.ZodType, max_length: number | undefined): z.ZodType {
  const tooMany = expect(lengthText({ max_length: max_length ?? 0 }, 'entries') as string)
  const hasUsableKeys = (map: unknown) =>
    typeof map === 'object' &&
    map !== null &&
    !Array.isArray(map) &&
    !Object.hasOwn(map, '__proto__') &&
    Object.keys(map).every(isWhole)
  const usable = z.custom<Record<string, unknown>>(hasUsableKeys, KEYS)
  const few = max_length === undefined ? usable : usable.refine((map) => Object.keys(map).length <= max_length, tooMany)
  return few.pipe(z.record(z.string(), value, KEYS))
}
