import fc from 'fast-check'
import { expect, test } from 'vitest'
import { catalogue } from '../../streams/vocabulary.ts'
import { arbitraryRow, boundedFields, everyTypeBatch } from '../conformance/arbitrary.ts'
import type { Fields } from '../declare/logical-types.ts'
import { rowFits } from './quick-checks.ts'
import { rowCheckOf } from './validation.ts'
import { isTimestamp } from './value-checks.ts'

const withoutTensor: Fields = Object.fromEntries(
  Object.entries(everyTypeBatch.row).filter(([, { logical }]) => logical.kind !== 'tensor'),
)
const ROWS: readonly (readonly [string, Fields])[] = [
  ...catalogue.map(({ type, row }) => [type, row] as const),
  ['every type but a tensor', withoutTensor],
  ['every kind of bound', boundedFields],
]

test.each(ROWS)('any row of %s is accepted at once', (_type, row) => {
  fc.assert(fc.property(arbitraryRow(row), (value) => rowFits(row)(value)))
})

const wrong = fc.oneof(
  fc.constantFrom(
    undefined,
    null,
    Number.NaN,
    -0,
    0.5,
    2 ** 31,
    -(2 ** 31) - 1,
    2 ** 53,
    '',
    'a\ud800',
    '1',
    '🗼🗼🗼🗼🗼',
    'abcdef',
    [0, 0, 0, 0],
    { a: 0, b: 0, c: 0 },
    -1,
    11,
    [],
    [null],
  ),
  fc.constantFrom(
    {},
    { x: 1 },
    { toString: 0 },
    Object.create(null),
    JSON.parse('{"__proto__": 1}'),
    new Map(),
    Object.create({ x: 1 }),
    new Date(0),
    true,
  ),
  fc.constantFrom(
    '2026-02-30T12:00:00.000Z',
    '2026-01-31T24:00:00.000Z',
    'a'.repeat(64),
    'A'.repeat(64),
    'image/png\n',
  ),
  fc.anything(),
)

/** A copy in which one value, at any depth, is replaced, missing or added. */
function spoilt(value: unknown, path: readonly number[], other: unknown): unknown {
  const [first = 0, ...rest] = path
  if (typeof value !== 'object' || value === null || path.length === 0) return other
  if (Array.isArray(value))
    return value.length === 0
      ? [other]
      : value.with(first % value.length, spoilt(value[first % value.length], rest, other))
  const names = Object.keys(value)
  const name = names[first % names.length]
  if (name === undefined) return other
  if (first % 7 === 0) return { ...value, more: other }
  const { [name]: inner, ...left } = value as Record<string, unknown>
  return first % 5 === 0 ? left : { ...left, [name]: spoilt(inner, rest, other) }
}

test.each(ROWS)('no row of %s is accepted that zod refuses', (_type, row) => {
  let refused = 0
  const path = fc.array(fc.nat(1_000), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(arbitraryRow(row), path, wrong, (value, at, other) => {
      const candidate = spoilt(value, at, other)
      const right = rowCheckOf(row).safeParse(candidate).success
      if (!right) refused++
      return right || !rowFits(row)(candidate)
    }),
    { numRuns: 300 },
  )
  expect(refused).toBeGreaterThan(50)
})

test('a time is one of the calendar', () => {
  const two = (most: number) => fc.nat(most).map((number) => String(number).padStart(2, '0'))
  const time = fc
    .tuple(fc.constantFrom('0001', '1900', '2000', '2023', '2024', '9999'), two(13), two(32), two(25), two(61), two(61))
    .map(([year, month, day, hour, minute, second]) => `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`)
  const comesBack = (text: string) => {
    const instant = new Date(text)
    return !Number.isNaN(instant.getTime()) && instant.toISOString() === text
  }
  fc.assert(
    fc.property(time, (text) => isTimestamp(text) === comesBack(text)),
    { numRuns: 3_000 },
  )
})
