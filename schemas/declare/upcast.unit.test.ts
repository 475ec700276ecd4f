import { expect, test } from 'vitest'
import { eventOf } from '../conformance/arbitrary.ts'
import { decodeEvent, encodeEvent, PoisonError } from '../wire/codec.ts'
import { defineEvent } from './event.ts'
import { float64, int32, nullable, oneOf, utf8 } from './logical-types.ts'
import { catalogueOf } from './registry.ts'

const shared = {
  type: 'test.measured',
  key: 'probe_id',
  encoding: 'arrow',
  retention: 'recorded',
  about: 'A probe was read.',
} as const

// The declarations of three successive program versions.
const first = defineEvent({ ...shared, version: 1, row: { probe_id: utf8(), metres: float64() } })
const toSecond = {
  version: 1,
  row: first.row,
  upcast: ({ probe_id, metres }: Record<string, unknown>) => ({
    probe_id,
    length_mm: Math.round(Number(metres) * 1000),
  }),
}
const second = defineEvent({
  ...shared,
  version: 2,
  row: { probe_id: utf8(), length_mm: int32() },
  earlier: [toSecond],
})
const toThird = {
  version: 2,
  row: second.row,
  upcast: (row: Record<string, unknown>) => ({ ...row, unit: 'mm', note: null }),
}
const third = defineEvent({
  ...shared,
  version: 3,
  row: { probe_id: utf8(), length_mm: int32(), unit: oneOf(['mm']), note: nullable(utf8()) },
  earlier: [toSecond, toThird],
})

test('a record of any version is read as the current one, by each upcaster in turn', () => {
  const rows = [
    { probe_id: 'p', metres: 1.5 },
    { probe_id: 'p', metres: 0.25 },
  ]
  const recorded = encodeEvent(first, eventOf(first, rows, { seed: '7' }))
  expect(decodeEvent(recorded, catalogueOf([third]))).toEqual({
    ...eventOf(first, rows, { seed: '7' }),
    version: 3,
    data: [
      { probe_id: 'p', length_mm: 1500, unit: 'mm', note: null },
      { probe_id: 'p', length_mm: 250, unit: 'mm', note: null },
    ],
  })
  const later = encodeEvent(second, eventOf(second, [{ probe_id: 'p', length_mm: 3 }]))
  expect(decodeEvent(later, catalogueOf([third])).data).toEqual([
    { probe_id: 'p', length_mm: 3, unit: 'mm', note: null },
  ])
})

test('without an upcaster the values stay, and what is new is null; what cannot be null needs one', () => {
  const noted = { ...first.row, note: nullable(utf8()) }
  const later = defineEvent({ ...shared, version: 2, row: noted, earlier: [{ version: 1, row: first.row }] })
  const recorded = encodeEvent(first, eventOf(first, [{ probe_id: 'p', metres: 1.5 }]))
  expect(decodeEvent(recorded, catalogueOf([later])).data).toEqual([{ probe_id: 'p', metres: 1.5, note: null }])
  const earlier = [{ version: 1, row: first.row }]
  expect(() => defineEvent({ ...shared, version: 2, row: { ...first.row, unit: utf8() }, earlier })).toThrow(
    'event test.measured v2: earlier version 1: expected an upcaster, for it has no unit, which cannot be null',
  )
  expect(() => defineEvent({ ...shared, version: 2, row: { probe_id: utf8() }, earlier })).toThrow(
    'event test.measured v2: earlier version 1: expected an upcaster, for metres is in it alone',
  )
})

test('a version that the reader does not know is poison, not a guess', () => {
  const newer = encodeEvent(second, eventOf(second, [{ probe_id: 'p', length_mm: 3 }]))
  expect(() => decodeEvent(newer, catalogueOf([first]))).toThrow('v2 was written by a newer program: update this one')
  const forgetful = defineEvent({ ...shared, version: 3, row: third.row, earlier: [toThird] })
  const old = encodeEvent(first, eventOf(first, [{ probe_id: 'p', metres: 1 }]))
  expect(() => decodeEvent(old, catalogueOf([forgetful]))).toThrow(
    'v1 has no upcaster here any more; this program reads up to v3',
  )
})

test('a version that is not what its writer declared is poison', () => {
  const rewritten = { ...toSecond, row: { ...first.row, metres: nullable(float64()) } }
  const other = defineEvent({ ...shared, version: 2, row: second.row, earlier: [rewritten] })
  const recorded = encodeEvent(first, eventOf(first, [{ probe_id: 'p', metres: 1 }]))
  expect(() => decodeEvent(recorded, catalogueOf([other]))).toThrow(
    "the writer's declaration of this version is another one",
  )
})

test.each([
  [
    () => {
      throw new Error('no scale')
    },
    'test.measured: upcasting v1 to v2 failed: Error: no scale',
  ],
  [
    () => ({ probe_id: 'p', length_mm: 0.5 }),
    'test.measured v2: row 0 field length_mm: expected an integer of 32 bits, got 0.5',
  ],
])('an upcaster that fails, or whose result is invalid, is named', (upcast, problem) => {
  const broken = defineEvent({ ...shared, version: 2, row: second.row, earlier: [{ ...toSecond, upcast }] })
  const recorded = encodeEvent(first, eventOf(first, [{ probe_id: 'p', metres: 1 }]))
  const decode = () => decodeEvent(recorded, catalogueOf([broken]))
  expect(decode).toThrow(PoisonError)
  expect(decode).toThrow(problem)
})
