import fc from 'fast-check'
import { expect, test } from 'vitest'
import { catalogue } from '../../streams/vocabulary.ts'
import { arbitraryData, everyTypeBatch, everyTypeFact, present, sampleOf } from '../conformance/arbitrary.ts'
import { validateData } from './validation.ts'

const row = present(sampleOf(everyTypeBatch, 7)[0])
const problemWith = (change: object, drop?: string) => {
  const rows: Record<string, unknown>[] = [{ ...row }, { ...row }, { ...row, ...change }]
  if (drop !== undefined) delete rows[2]?.[drop]
  try {
    validateData(everyTypeBatch, rows)
  } catch (error) {
    return String(error)
  }
  return 'nothing'
}

test.each([...catalogue, everyTypeBatch, everyTypeFact])('any data of $type is valid', (type) => {
  fc.assert(fc.property(arbitraryData(type), (data) => void validateData(type, data)))
})

const at = 'InvalidEventError: test.everything_batched v1: row 2 field'

test.each([
  [{ a_float64: Number.NaN }, 'a_float64: expected a finite float64, got NaN'],
  [{ a_float64: Number.POSITIVE_INFINITY }, 'a_float64: expected a finite float64, got Infinity'],
  [{ a_float32: 0.1 }, 'a_float32: expected a finite float32 (round it with Math.fround), got 0.1'],
  [{ a_float32: '1' }, 'a_float32: expected a finite float32 (round it with Math.fround), got "1"'],
  [{ an_int32: 2 ** 31 }, 'an_int32: expected an integer of 32 bits, got 2147483648'],
  [{ an_int32: 0.5 }, 'an_int32: expected an integer of 32 bits, got 0.5'],
  [{ an_int64: 2 ** 53 }, 'an_int64: expected an integer within ±(2⁵³−1), got 9007199254740992'],
  [{ a_bool: 1 }, 'a_bool: expected true or false, got 1'],
  [{ a_bool: null }, 'a_bool: expected true or false, got null'],
  [{ group_id: 'a\ud800' }, 'group_id: expected a text of whole Unicode characters, got "a\\ud800"'],
  [{ a_choice: 'up' }, 'a_choice: expected one of left, right, got "up"'],
  [{ a_list: [1, 2, 0.5] }, 'a_list[2]: expected an integer of 32 bits, got 0.5'],
  [
    { a_struct: { x: 1, inner: { label: 3 } } },
    'a_struct.inner.label: expected a text of whole Unicode characters, got 3',
  ],
  [{ a_struct: { x: 1, inner: { label: null, more: 3 } } }, 'a_struct.inner.more: the declaration has no such field'],
  [{ more: 1 }, 'more: the declaration has no such field'],
  [{ a_map: { a: 'b' } }, 'a_map.a: expected a finite float64, got "b"'],
  [
    { flow_tensor: new Float32Array(5) },
    'flow_tensor: expected a Float32Array of 6 finite elements, shape [2, 3], got a Float32Array of 5',
  ],
])('names row, field, expected and actual of %j', (change, problem) => {
  expect(problemWith(change)).toBe(`${at} ${problem}`)
})

test('a missing field is not null, and keys of a map cannot reach a prototype', () => {
  expect(problemWith({}, 'maybe_text')).toContain(
    'maybe_text: expected a text of whole Unicode characters, got nothing',
  )
  expect(problemWith({ a_map: JSON.parse('{"__proto__": 1}') })).toContain('none of them __proto__')
  expect(problemWith({ a_blob: { ...row.a_blob, sha256: 'ABC' } })).toContain('a_blob.sha256: expected a SHA-256')
})

test.each(['2026-01-31T12:00:00Z', '2026-02-30T12:00:00.000Z', '2026-01-31T12:00:00.000+00:00', 'yesterday'])(
  '%s is no timestamp',
  (time) => expect(problemWith({ a_time: time })).toContain('expected a UTC time in RFC 3339 with milliseconds'),
)

test('a batch has rows, and they share the key', () => {
  expect(() => validateData(everyTypeBatch, [])).toThrow('v1: expected at least one row, got none')
  expect(() => validateData(everyTypeBatch, row)).toThrow('expected an array of rows, got an object with')
  expect(problemWith({ group_id: 'other' })).toContain(`row 2 field group_id: expected the key of row 0`)
  expect(() => validateData(everyTypeBatch, [3])).toThrow('row 0: expected an object with group_id')
  const start = { declaration: 'elsewhere.unknown', version: 1, value: {} }
  expect(validateData(everyTypeFact, { ...row, a_start: start, maybe_start: null })).toBe(row.group_id)
})
