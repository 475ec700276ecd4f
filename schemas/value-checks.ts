import { z } from 'zod'

/** What a single value must satisfy. Each `error` is the text after "expected" in a message. */

const expect = (expected: string) => ({ error: expected })

const TEXT = expect('a text of whole Unicode characters')
const TIME = expect('a UTC time in RFC 3339 with milliseconds, like 2026-01-31T12:00:00.000Z')
const HASH = expect('a SHA-256 in 64 lower-case hexadecimal digits')
const MEDIA = expect('a media type, like image/png')
const PIXELS = expect('a positive number of pixels')
const BYTES = expect('a number of bytes, 0 … 2⁵³−1')
const FLOAT32 = expect('a finite float32 (round it with Math.fround)')

/** Not the year 0, which Python has no date for. */
const RFC3339_MS = /^(?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

/** Also refuses days that no calendar has: they would come back as others. */
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

/** A lone surrogate has no UTF-8: it would come back as another text. */
const isWhole = (text: string) => text.isWellFormed()

export const boolCheck = z.boolean(expect('true or false'))
export const int32Check = z.int32(expect('an integer of 32 bits'))
export const int64Check = z.int(expect('an integer within ±(2⁵³−1)'))
export const float64Check = z.float64(expect('a finite float64'))
/** A value that a float32 cannot hold exactly would be another one after the log. */
export const float32Check = z.float64(FLOAT32).refine((value) => Math.fround(value) === value, FLOAT32)
export const textCheck = z.string(TEXT).refine(isWhole, TEXT)
export const timestampCheck = z.string(TIME).refine(isTimestamp, TIME)
export const oneOfCheck = (values: readonly string[]) => z.enum(values, expect(`one of ${values.join(', ')}`))

const sha256Check = z.string(HASH).regex(SHA256, HASH)
const blobShape = {
  sha256: sha256Check,
  bytes: z.int(BYTES).min(0, BYTES),
  media_type: z.string(MEDIA).regex(MEDIA_TYPE, MEDIA),
}
export const blobCheck = recordCheck(blobShape)
export const imageCheck = recordCheck({
  ...blobShape,
  width: z.int32(PIXELS).min(1, PIXELS),
  height: z.int32(PIXELS).min(1, PIXELS),
  pixels_sha256: sha256Check,
})

/** Every field present (null is a value, absence is not), and no other. */
export function recordCheck(shape: { readonly [name: string]: z.ZodType }): z.ZodType {
  return z.strictObject(shape, expect(`an object with ${Object.keys(shape).join(', ')}`))
}

export const listCheck = (item: z.ZodType) => z.array(item, expect('an array'))

const KEYS = expect('an object whose keys are texts of whole Unicode characters, none of them __proto__')

/** `__proto__` is refused before zod's record sees it, which would leave it out without a word. */
export function mapCheck(value: z.ZodType): z.ZodType {
  const hasUsableKeys = (map: unknown) =>
    typeof map === 'object' &&
    map !== null &&
    !Array.isArray(map) &&
    !Object.hasOwn(map, '__proto__') &&
    Object.keys(map).every(isWhole)
  return z.custom<Record<string, unknown>>(hasUsableKeys, KEYS).pipe(z.record(z.string(), value, KEYS))
}
