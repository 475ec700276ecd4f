import fc from 'fast-check'
import { defineValue } from '../declare/declared-value.ts'
import type { DataOf, Event, EventType } from '../declare/event.ts'
import { defineEvent } from '../declare/event.ts'
import {
  blob,
  bool,
  declared,
  type Field,
  type Fields,
  float32,
  float64,
  image,
  int32,
  int64,
  type Logical,
  type LogicalKind,
  list,
  mapOf,
  nullable,
  oneOf,
  struct,
  tensor,
  timestamp,
  utf8,
} from '../declare/logical-types.ts'
import { repeatedRow } from '../declare/row-key.ts'
import type { TensorDtype } from '../declare/tensor-value.ts'

/** For tests: arbitrary valid values of any declaration, independent of the codecs under test. */

type Of<K extends LogicalKind> = Extract<Logical, { kind: K }>

const hash = fc.stringMatching(/^[0-9a-f]{64}$/)
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('', 'Ω', '🗼', 'a\u0000b', "it's"),
)
const size = fc.nat({ max: 2 ** 40 })
const finite = { noNaN: true, noDefaultInfinity: true }
const float = { ...finite, maxExcluded: false }
const mediaType = fc.constantFrom('image/png', 'application/octet-stream', 'video/mp4; codecs=av01')
const pixels = fc.integer({ min: 1, max: 4096 })

const elements: { readonly [D in TensorDtype]: (length: number) => fc.Arbitrary<unknown> } = {
  uint8: (length) => fc.uint8Array({ minLength: length, maxLength: length }),
  int32: (length) => fc.int32Array({ minLength: length, maxLength: length }),
  float16: (length) =>
    fc
      .array(fc.float({ min: -65504, max: 65504, noNaN: true }), { minLength: length, maxLength: length })
      .map((numbers) => Float16Array.from(numbers)),
  float32: (length) => fc.float32Array({ minLength: length, maxLength: length, ...finite }),
  float64: (length) => fc.float64Array({ minLength: length, maxLength: length, ...finite }),
}

const rangeOf = (min: number | undefined, max: number | undefined) => ({
  ...(min === undefined ? {} : { min }),
  ...(max === undefined ? {} : { max }),
})

const values: { readonly [K in LogicalKind]: (logical: Of<K>) => fc.Arbitrary<unknown> } = {
  bool: () => fc.boolean(),
  int32: (range) => fc.integer({ ...range }),
  int64: ({ min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER }) =>
    fc.maxSafeInteger().map((any) => Math.min(max, Math.max(min, any))),
  float32: ({ min, max }) => fc.float({ ...float, ...rangeOf(min, max) }),
  float64: ({ min, max }) => fc.double({ ...float, ...rangeOf(min, max) }),
  utf8: ({ max_length = Infinity }) => text.map((any) => [...any].slice(0, max_length).join('')),
  timestamp: () =>
    fc
      .date({
        min: new Date('0001-01-01T00:00:00.000Z'),
        max: new Date('9999-12-31T23:59:59.999Z'),
        noInvalidDate: true,
      })
      .map((date) => date.toISOString()),
  one_of: ({ values: allowed }) => fc.constantFrom(...allowed),
  blob: () => fc.record({ sha256: hash, bytes: size, media_type: mediaType }, { noNullPrototype: true }),
  image: ({ max_side = Infinity }) => {
    const side = pixels.map((any) => Math.min(any, max_side))
    return fc.record(
      { sha256: hash, bytes: size, media_type: mediaType, width: side, height: side, pixels_sha256: hash },
      { noNullPrototype: true },
    )
  },
  list: ({ item, max_length = 4 }) => fc.array(arbitraryValue(item), { maxLength: Math.min(4, max_length) }),
  map: ({ value, max_length = 4 }) =>
    fc.dictionary(
      text.filter((key) => key !== '__proto__'),
      arbitraryValue(value),
      { maxKeys: Math.min(4, max_length), noNullPrototype: true },
    ),
  struct: ({ fields }) => arbitraryRow(fields),
  declared: () =>
    fc.oneof(
      arbitraryRow(testedValue.fields).map((value) => ({
        declaration: testedValue.name,
        version: testedValue.version,
        value,
      })),
      fc.record(
        {
          declaration: fc.constant('elsewhere.unknown'),
          version: fc.integer({ min: 1, max: 9 }),
          value: fc.dictionary(
            text.filter((key) => key !== '__proto__'),
            fc.oneof(text, fc.integer(), fc.constant(null)),
            {
              noNullPrototype: true,
            },
          ),
        },
        { noNullPrototype: true },
      ),
    ),
  tensor: ({ dtype, shape }) => elements[dtype](shape.reduce((product, extent) => product * extent, 1)),
}

export function arbitraryValue({ logical, nullable: isNullable }: Field): fc.Arbitrary<unknown> {
  const value = (values[logical.kind] as (logical: Logical) => fc.Arbitrary<unknown>)(logical)
  return isNullable ? fc.option(value, { nil: null, freq: 3 }) : value
}

export function arbitraryRow(row: Fields): fc.Arbitrary<Record<string, unknown>> {
  const fields = Object.fromEntries(Object.entries(row).map(([name, field]) => [name, arbitraryValue(field)]))
  return fc.record(fields, { noNullPrototype: true })
}

/** The same data on every run. */
export function sampleOf<T extends EventType>(type: T, seed: number): DataOf<T> {
  return present(fc.sample(arbitraryData(type), { numRuns: 1, seed })[0])
}

/** Asserts that a value is defined. */
export function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('expected a value, got undefined')
  return value
}

const key = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 })

export function arbitraryData<T extends EventType>(type: T): fc.Arbitrary<DataOf<T>> {
  const rows = fc
    .tuple(key, fc.array(arbitraryRow(type.row), { minLength: 1, maxLength: type.encoding === 'json' ? 1 : 5 }))
    .map(([shared, all]) => all.map((row) => ({ ...row, [type.key]: shared })))
    .filter((all) => repeatedRow(all, type.row_key) === undefined)
  return rows.map((all) => (type.encoding === 'json' ? all[0] : all)) as fc.Arbitrary<DataOf<T>>
}

export function eventOf<T extends EventType>(type: T, data: DataOf<T>, envelope: Partial<Event> = {}): Event<T> {
  const first = (Array.isArray(data) ? data[0] : data) as Record<string, unknown>
  return {
    id: '00112233445566778899aabbccddeeff',
    source: '/tests',
    type: type.type,
    version: type.version,
    time: '2026-01-31T12:00:00.000Z',
    clock: 'virtual',
    causes: [],
    key: String(first[type.key]),
    ...envelope,
    data,
  }
}

/** A declaration of values, for tests; others have none in this process. */
export const testedValue = defineValue({
  name: 'test.start',
  version: 1,
  about: 'Where it starts.',
  fields: { x: float64(), names: list(utf8()), at: nullable(timestamp()), lengths: mapOf(int64()) },
})

export const everyTypeFields = {
  group_id: utf8("the key; it's text"),
  a_bool: bool(),
  an_int32: int32(),
  an_int64: int64(),
  a_float32: float32(),
  a_float64: float64(),
  a_time: timestamp(),
  a_choice: oneOf(['left', 'right']),
  a_blob: blob(),
  an_image: image(),
  a_list: list(int32()),
  a_map: mapOf(nullable(float64())),
  a_struct: struct({ x: float64(), inner: struct({ label: nullable(utf8()) }) }),
  bytes_tensor: tensor('uint8', [2, 2]),
  int_tensor: tensor('int32', [3]),
  flow_tensor: tensor('float32', [2, 3], 'px/frame'),
  wide_tensor: tensor('float64', [1, 2, 2]),
  half_tensor: tensor('float16', [2, 2]),
  maybe_bool: nullable(bool()),
  maybe_int64: nullable(int64()),
  maybe_text: nullable(utf8()),
  maybe_time: nullable(timestamp()),
  maybe_choice: nullable(oneOf(['on', 'off'])),
  maybe_image: nullable(image()),
  maybe_list: nullable(list(nullable(list(utf8())))),
  maybe_map: nullable(mapOf(list(int64()))),
  maybe_struct: nullable(struct({ x: float32(), names: list(utf8()), at: nullable(timestamp()) })),
  maybe_tensor: nullable(tensor('float32', [2, 3])),
} satisfies Fields

/** Every kind of bound, alone, nested and nullable. */
export const boundedFields = {
  group_id: utf8({ max_length: 8 }),
  place: int32({ min: 0, max: 10 }),
  version: int64({ min: 0 }),
  share: float32({ min: 0, max: 1 }),
  temperature: float64({ max: 100 }),
  picture: image({ max_side: 64 }),
  names: list(utf8({ max_length: 4 }), { max_length: 3 }),
  terms: mapOf(float64({ min: -1 }), { max_length: 2 }),
  at: struct({ x: int32({ min: -4 }) }),
  maybe: nullable(list(nullable(int32({ min: 0, max: 255 })), { max_length: 3 })),
} satisfies Fields

/** Every logical type, alone, nested and nullable, as a batch and as a fact. */
export const everyTypeBatch = defineEvent({
  type: 'test.everything_batched',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'Holds one of everything.',
  row: everyTypeFields,
})
export const everyTypeFact = defineEvent({
  ...everyTypeBatch,
  row: { ...everyTypeFields, a_start: declared(), maybe_start: nullable(declared()) },
  type: 'test.everything_said',
  encoding: 'json',
  key: 'group_id',
})
