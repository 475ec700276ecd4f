import { Field as ArrowField, type Data, type DataType, Null, Schema } from 'apache-arrow'
import { expect, test } from 'vitest'
import { boundedFields, eventOf, sampleOf } from '../conformance/arbitrary.ts'
import { defineEvent, type Event, type EventType } from '../declare/event.ts'
import { type Fields, int32, utf8 } from '../declare/logical-types.ts'
import { catalogueOf } from '../declare/registry.ts'
import { jsonSchemaOf } from '../derive/json-schema.ts'
import { pyarrowSchemaOf } from '../derive/python-reader.ts'
import { completionsSampled } from '../events/policy.ts'
import { rolloutRequested } from '../events/rollout.ts'
import { columnOf } from './arrow-columns.ts'
import { arrowSchemaOf } from './arrow-schema.ts'
import { readStream, writeStream } from './arrow-stream.ts'
import { decodeEvent, type EncodedRecord, encodeEvent } from './codec.ts'
import { fingerprintOf } from './fingerprint.ts'
import { SchemaMessage } from './schema-message.ts'
import { withoutBounds, wouldRefuseToday } from './validation.ts'

const declared = {
  type: 'test.bounded',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'Rows within bounds.',
  row: boundedFields as Fields,
} as const
const bounded = defineEvent({ ...declared, row_key: ['group_id', 'place'] })
/** The declaration of an earlier release, without bounds. */
const free = defineEvent({ ...declared, row: withoutBounds(boundedFields) })
const events = catalogueOf([bounded])

const row = {
  group_id: 'g',
  place: 0,
  version: 1,
  share: 0.5,
  temperature: 1,
  picture: {
    sha256: 'a'.repeat(64),
    bytes: 1,
    media_type: 'image/png',
    width: 64,
    height: 1,
    pixels_sha256: 'b'.repeat(64),
  },
  names: ['🗼🗼🗼🗼'],
  terms: { a: -1 },
  at: { x: -4 },
  maybe: null,
}
const written = (type: EventType, rows: readonly object[]) => encodeEvent(type, eventOf(type, rows as never) as Event)
/** A record of an earlier release: without the `ce_schemarules` header. */
const byEarlierRelease = (rows: readonly object[]): EncodedRecord => {
  const record = written(free, rows)
  return { ...record, headers: record.headers.filter(({ name }) => name !== 'ce_schemarules') }
}
/** A record with the `ce_schemarules` header whose rows violate the rules. */
const dishonest = (rows: readonly object[]): EncodedRecord => written(free, rows)

const OUTSIDE: readonly (readonly [string, object, string])[] = [
  ['place', { place: 11 }, 'field place: expected an integer of 32 bits, 0 … 10, got 11'],
  ['place below', { place: -1 }, 'field place: expected an integer of 32 bits, 0 … 10, got -1'],
  ['version', { version: -1 }, 'field version: expected an integer within ±(2⁵³−1), 0 or more, got -1'],
  ['share', { share: 1.5 }, 'field share: expected a finite float32 (round it with Math.fround), 0 … 1, got 1.5'],
  ['temperature', { temperature: 101 }, 'field temperature: expected a finite float64, at most 100, got 101'],
  ['key', { group_id: 'g'.repeat(9) }, 'field group_id: expected at most 8 characters, got "ggggggggg"'],
  [
    'picture',
    { picture: { ...row.picture, width: 65 } },
    'field picture.width: expected a number of pixels, 1 … 64, got 65',
  ],
  ['list', { names: ['', '', '', ''] }, 'field names: expected at most 3 items, got an array of 4'],
  ['text in a list', { names: ['abcde'] }, 'field names[0]: expected at most 4 characters, got "abcde"'],
  ['map', { terms: { a: 0, b: 0, c: 0 } }, 'field terms: expected at most 2 entries, got an object with a, b, c'],
  ['value in a map', { terms: { a: -2 } }, 'field terms.a: expected a finite float64, -1 or more, got -2'],
  ['struct', { at: { x: -5 } }, 'field at.x: expected an integer of 32 bits, -4 or more, got -5'],
  ['nullable item', { maybe: [null, 256] }, 'field maybe[1]: expected an integer of 32 bits, 0 … 255, got 256'],
]

test.each(OUTSIDE)(
  'outside its bounds, %s is refused when it is written and when it is read',
  (_what, change, message) => {
    expect(() => written(bounded, [{ ...row, ...change }])).toThrow(message)
    expect(() => decodeEvent(dishonest([{ ...row, ...change }]), events)).toThrow(message)
  },
)

test('values at their bounds are accepted', () => {
  const edge = { ...row, place: 10, share: 1, temperature: 100, group_id: 'g'.repeat(8), names: ['', 'abcd', ''] }
  expect(decodeEvent(written(bounded, [edge]), events).data).toEqual([edge])
})

test('two rows with one key are refused when written and when read, in any order of the rows', () => {
  const rows = [3, 1, 2, 1].map((place) => ({ ...row, place }))
  const message = 'row 3 group_id "g", place 1: expected each group_id, place once in an event, row 1 has it too'
  expect(() => written(bounded, rows)).toThrow(message)
  expect(() => decodeEvent(dishonest(rows), events)).toThrow(message)
  const distinct = [3, 1, 2].map((place) => ({ ...row, place }))
  expect(decodeEvent(written(bounded, distinct), events).data).toEqual(distinct)
})

test.each([...OUTSIDE, ['a row key', {}, 'row 1 group_id "g", place 0']] as const)(
  'what an earlier release wrote outside of %s is read as it was, and named as what would be refused today',
  (_what, change, message) => {
    const rows = [{ ...row, ...change }, ...(Object.keys(change).length === 0 ? [row] : [])]
    const event = decodeEvent(byEarlierRelease(rows), events)
    expect(event.data).toEqual(rows)
    expect(event.before_rules).toBe(true)
    expect(wouldRefuseToday(bounded, event)).toContain(message)
  },
)

test('an event that breaks the rules stays without their mark when it is written again; one that obeys gets it', () => {
  const twice = decodeEvent(byEarlierRelease([row, row]), events)
  const again = encodeEvent(bounded, twice)
  expect(again.headers.map(({ name }) => name)).not.toContain('ce_schemarules')
  expect(decodeEvent(again, events)).toEqual(twice)

  const once = decodeEvent(byEarlierRelease([row]), events)
  expect(wouldRefuseToday(bounded, once)).toBeUndefined()
  expect(encodeEvent(bounded, once).headers).toContainEqual({ name: 'ce_schemarules', value: '1' })
})

test('the types of every record are checked', () => {
  const record = byEarlierRelease([row])
  const other = written(defineEvent({ ...declared, row: { ...boundedFields, place: utf8() } }), [
    { ...row, place: 'x' },
  ])
  expect(() => decodeEvent({ ...record, value: other.value }, events)).toThrow('column place: expected Arrow Int32')
})

test('bounds and row keys are no part of a fingerprint', () => {
  expect(fingerprintOf(bounded)).toBe(fingerprintOf(free))
})

test('bounds are in the JSON Schema and in the Python reader', () => {
  expect(jsonSchemaOf(bounded)).toMatchObject({
    $comment: 'rows of one event differ in group_id, place',
    properties: {
      group_id: { maxLength: 8 },
      place: { minimum: 0, maximum: 10 },
      version: { minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
      share: { minimum: 0, maximum: 1 },
      picture: { properties: { width: { minimum: 1, maximum: 64 } } },
      names: { maxItems: 3, items: { maxLength: 4 } },
      terms: { maxProperties: 2, additionalProperties: { minimum: -1 } },
      at: { properties: { x: { minimum: -4, maximum: 2 ** 31 - 1 } } },
      maybe: { anyOf: [{ maxItems: 3, items: { anyOf: [{ minimum: 0, maximum: 255 }, { type: 'null' }] } }, {}] },
    },
  })
  const python = pyarrowSchemaOf(bounded)
  expect(python).toContain('pa.field("place", pa.int32(), nullable=False),  # 0 … 10\n')
  expect(python).toContain('# at most 3 items, each at most 4 characters\n')
  expect(python).toContain('# x: -4 or more\n')
})

test('a declaration whose bounds or row key cannot hold is refused', () => {
  expect(() => int32({ min: 1, max: 0 })).toThrow('bounds {"min":1,"max":0}: expected numbers, min ≤ max')
  expect(() => defineEvent({ ...declared, row_key: ['share'] })).toThrow('row_key share: expected a required field')
  expect(() => defineEvent({ ...declared, row_key: ['nothing'] })).toThrow('row_key nothing: expected a required field')
  expect(() => defineEvent({ ...declared, encoding: 'json', row_key: ['place'] })).toThrow(
    'row_key: a fact has one row',
  )
})

test('a request for a hundred million completions is refused before anything is allocated for it', () => {
  const request = { ...sampleOf(rolloutRequested, 1), group_size: 16 }
  const record = encodeEvent(rolloutRequested, eventOf(rolloutRequested, request) as Event)
  const value = Buffer.from(
    JSON.stringify({ ...JSON.parse(Buffer.from(record.value).toString()), group_size: 100_000_000 }),
  )
  expect(() => decodeEvent({ ...record, value }, catalogueOf([rolloutRequested]))).toThrow(
    'rollout.requested v4: field group_size: expected an integer of 32 bits, 1 … 4096, got 100000000',
  )
})

test('an Arrow batch cannot claim more values than its bytes could hold, however many columns are null', () => {
  const rows = 4_000_000
  const columns = Object.entries(completionsSampled.row).filter(([, field]) => field.nullable)
  const schema = arrowSchemaOf(Object.fromEntries(columns))
  // Each column is all null, with a bitmap of one byte.
  const nulls = schema.fields.map(({ type }) => emptyColumn(type, rows))
  // Enough bytes for one bit per row.
  nulls[0] = columnOf(
    (schema.fields[0] as { type: DataType }).type,
    rows,
    { offsets: new Int32Array(1), values: new Uint8Array(rows / 8) },
    rows,
    new Uint8Array(1),
  )
  const stream = readStream(writeStream(new SchemaMessage(schema), nulls, rows))
  expect(() => stream.batches()).toThrow('a column of 4000000 values cannot lie in a batch of 500')
})

test('nor can the batches of one Arrow stream, each of which claims little', () => {
  const schema = new SchemaMessage(new Schema([new ArrowField('group_id', new Null(), true)]))
  const rows = 50_000
  const one = writeStream(schema, [columnOf(new Null(), rows, {}, rows)], rows)
  const empty = writeStream(schema, [columnOf(new Null(), 0, {}, 0)], 0)
  // Both streams begin with the schema's message and end with the end-of-stream mark.
  let from = 0
  while (one[from] === empty[from]) from += 1
  from = one.lastIndexOf(0xff, from) - 3
  const batch = one.subarray(from, -8)
  const stream = (batches: number) =>
    readStream(Buffer.concat([one.subarray(0, from), ...Array(batches).fill(batch), one.subarray(-8)]))
  expect(stream(1).batches()).toHaveLength(1)
  expect(() => stream(1_000).batches()).toThrow('a column of 50000 values cannot lie in a batch of 0 bytes')
})

test('a value of more bytes than any release wrote is refused before it is parsed', () => {
  const { key, headers } = encodeEvent(rolloutRequested, eventOf(rolloutRequested, sampleOf(rolloutRequested, 1)))
  const value = Buffer.alloc(8 * 2 ** 20 + 1, '[')
  expect(() => decodeEvent({ key, headers, value }, catalogueOf([rolloutRequested]))).toThrow(
    'rollout.requested v4: expected at most 8388608 bytes, got 8388609',
  )
})

function emptyColumn(type: DataType, rows: number): Data {
  const children = (type.children ?? []).map((child) => emptyColumn(child.type, 0))
  const values = children.length === 0 ? { values: new Uint8Array(0) } : {}
  return columnOf(type, rows, { offsets: new Int32Array(1), ...values, children }, rows, new Uint8Array(1))
}
