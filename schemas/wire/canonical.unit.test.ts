import fc from 'fast-check'
import { expect, test } from 'vitest'
import { arbitraryData, eventOf, everyTypeBatch, everyTypeFact, present } from '../conformance/arbitrary.ts'
import type { Event } from '../declare/event.ts'
import { canonicalHash, firstDifference, looksAlike } from './canonical.ts'

const samples = fc.sample(arbitraryData(everyTypeBatch), { numRuns: 30, seed: 11 })
const rows = present(samples.find((data) => data.length > 2))
const row = present(rows[0])
const changed = (change: object): Event =>
  eventOf(everyTypeBatch, [...rows.slice(0, 2), { ...present(rows[2]), ...change }])
const base = changed({
  a_float64: 0,
  a_map: { b: 1, a: null },
  a_list: [1, 2],
  a_struct: { x: 1, inner: { label: 'low' } },
  an_image: row.an_image,
  flow_tensor: Float32Array.of(1, 2, 3, 4, 5, 6),
  maybe_text: null,
  a_blob: row.a_blob,
})
const but = (change: object): Event => {
  const data = base.data as unknown as object[]
  return { ...base, data: [...data.slice(0, 2), { ...data[2], ...change }] } as unknown as Event
}

test('equal are: −0 and 0, maps in any order, results of other code', () => {
  for (const other of [but({ a_float64: -0 }), but({ a_map: { a: null, b: 1 } }), { ...base, producer_version: '9' }]) {
    expect(canonicalHash(everyTypeBatch, other)).toBe(canonicalHash(everyTypeBatch, base))
    expect(firstDifference(everyTypeBatch, base, other)).toBeUndefined()
  }
})

test('an image of the same pixels under another reference is another value that looks alike', () => {
  const { sha256, ...pixels } = row.an_image
  const other_sha256 = sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))
  const other = but({ an_image: { ...pixels, sha256: other_sha256 } })
  expect(firstDifference(everyTypeBatch, base, other)).toMatchObject({ path: 'row 2 field an_image.sha256' })
  expect(looksAlike(everyTypeBatch, base, other)).toBe(true)
  const { width } = row.an_image
  expect(looksAlike(everyTypeBatch, base, but({ an_image: { ...row.an_image, width: width + 1 } }))).toBe(false)
  expect(looksAlike(everyTypeBatch, base, but({ a_float64: 5e-324 }))).toBe(false)
})

test.each<[Event, string, string, string]>([
  [but({ a_float64: 5e-324 }), 'row 2 field a_float64', '0', '5e-324'],
  [but({ a_map: { b: 2, a: null } }), 'row 2 field a_map.b', '1', '2'],
  [but({ a_map: { b: 1 } }), 'row 2 field a_map.a', 'null', 'nothing'],
  [but({ a_map: { a: null, b: 1, c: 2 } }), 'row 2 field a_map.c', 'nothing', '2'],
  [but({ a_list: [1, 3] }), 'row 2 field a_list[1]', '2', '3'],
  [but({ a_list: [1, 2, 3] }), 'row 2 field a_list[2]', 'nothing', '3'],
  [but({ a_struct: { x: 1, inner: { label: 'high' } } }), 'row 2 field a_struct.inner.label', '"low"', '"high"'],
  [but({ a_struct: { x: 1, inner: { label: null } } }), 'row 2 field a_struct.inner.label', '"low"', 'null'],
  [but({ maybe_text: '' }), 'row 2 field maybe_text', 'null', '""'],
  [but({ flow_tensor: Float32Array.of(1, 2, 3, 4, 5, 7) }), 'row 2 field flow_tensor[5]', '6', '7'],
  [
    but({ an_image: { ...row.an_image, width: 5000 } }),
    'row 2 field an_image.width',
    String(row.an_image.width),
    '5000',
  ],
  [{ ...base, time: '2027-01-01T00:00:00.000Z' }, 'time', `"${base.time}"`, '"2027-01-01T00:00:00.000Z"'],
  [{ ...base, causes: ['x'] }, 'causes[0]', 'nothing', '"x"'],
  [{ ...base, model_hash: 'm' }, 'model_hash', 'null', '"m"'],
  [{ ...base, data: (base.data as unknown[]).slice(0, 2) } as unknown as Event, 'rows', '3', '2'],
])('a difference is in the hash and is named (%#)', (other, path, expected, actual) => {
  expect(canonicalHash(everyTypeBatch, other)).not.toBe(canonicalHash(everyTypeBatch, base))
  expect(firstDifference(everyTypeBatch, base, other)).toEqual({ path, expected, actual })
})

test('long texts are shown from where they part', () => {
  const text = 'the same beginning, '.repeat(20)
  const difference = firstDifference(
    everyTypeBatch,
    but({ maybe_text: `${text}left` }),
    but({ maybe_text: `${text}right` }),
  )
  expect(difference).toMatchObject({ expected: '"…the same beginning, left"', actual: '"…the same beginning, right"' })
})

test('two events have a first difference exactly when their hashes differ', () => {
  const data = arbitraryData(everyTypeFact)
  fc.assert(
    fc.property(data, data, fc.boolean(), (a, b, same) => {
      const [ours, theirs] = [eventOf(everyTypeFact, a), eventOf(everyTypeFact, same ? structuredClone(a) : b)]
      const areEqual = canonicalHash(everyTypeFact, ours) === canonicalHash(everyTypeFact, theirs)
      expect(firstDifference(everyTypeFact, ours, theirs) === undefined).toBe(areEqual)
      expect(areEqual || !same).toBe(true)
    }),
  )
})
