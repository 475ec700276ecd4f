import { expect, test } from 'vitest'
import { eventOf } from '../conformance/arbitrary.ts'
import { declaredAs, defineValue, valueAs } from '../declare/declared-value.ts'
import { defineEvent } from '../declare/event.ts'
import {
  type DeclaredValue,
  declared,
  float64,
  int32,
  list,
  nullable,
  struct,
  tensor,
  utf8,
} from '../declare/logical-types.ts'
import { catalogueOf } from '../declare/registry.ts'
import { jsonSchemaOf } from '../derive/json-schema.ts'
import { canonicalHash, firstDifference } from './canonical.ts'
import { decodeEvent, type EncodedEvent, encodeEvent, PoisonError } from './codec.ts'

const ball = defineValue({
  name: 'trial.ball',
  version: 3,
  about: 'A ball on a table.',
  fields: { x: float64({ min: 0, max: 1 }), spin: nullable(int32()) },
  earlier: [
    { version: 1, fields: { x_cm: float64() }, upcast: ({ x_cm }) => ({ x: Number(x_cm) / 100 }) },
    { version: 2, fields: { x: float64() }, upcast: (value) => ({ ...value, spin: null }) },
  ],
})

const asked = defineEvent({
  type: 'trial.asked',
  version: 1,
  key: 'id',
  encoding: 'json',
  retention: 'source',
  about: 'Asks about a start state.',
  row: { id: utf8(), start: declared(), before: nullable(declared()) },
})
const events = catalogueOf([asked])

const ask = (start: DeclaredValue, before: DeclaredValue | null = null) => eventOf(asked, { id: 'a', start, before })
/** A record whose start state is this, whatever today's rules say. */
function recordOf(start: unknown): EncodedEvent {
  const good = encodeEvent(asked, ask(declaredAs(ball, { x: 0.5, spin: 1 })))
  return { ...good, value: Buffer.from(JSON.stringify({ id: 'a', start, before: null })) }
}
const startIn = (record: EncodedEvent) =>
  (decodeEvent(record, events).data as unknown as { start: DeclaredValue }).start

test('a value is read back with its declaration, which types it', () => {
  const start = startIn(encodeEvent(asked, ask(declaredAs(ball, { x: 0.5, spin: 1 }))))
  expect(start).toEqual({ declaration: 'trial.ball', version: 3, value: { x: 0.5, spin: 1 } })
  expect(valueAs(start, ball)?.x).toBe(0.5)
  expect(valueAs({ ...start, declaration: 'trial.cube' }, ball)).toBeUndefined()
})

test('a value of an earlier version is upcast through every later one; the current rules hold for the result', () => {
  expect(startIn(recordOf({ declaration: 'trial.ball', version: 1, value: { x_cm: 25 } }))).toEqual({
    declaration: 'trial.ball',
    version: 3,
    value: { x: 0.25, spin: null },
  })
  expect(() => startIn(recordOf({ declaration: 'trial.ball', version: 1, value: { x_cm: 250 } }))).toThrow(
    /start\.value\.x: expected a finite float64, 0 … 1, got 2\.5/,
  )
})

test.each<[string, unknown, RegExp]>([
  [
    'out of bounds',
    { declaration: 'trial.ball', version: 3, value: { x: 2, spin: 1 } },
    /start\.value\.x: expected .*0 … 1, got 2/,
  ],
  [
    'a field too many',
    { declaration: 'trial.ball', version: 3, value: { x: 0, spin: 1, y: 2 } },
    /start\.value\.y: the declaration has no such field/,
  ],
  [
    'a field too few',
    { declaration: 'trial.ball', version: 3, value: { x: 0 } },
    /start\.value\.spin: expected an integer of 32 bits/,
  ],
  [
    'a newer version',
    { declaration: 'trial.ball', version: 4, value: {} },
    /start\.version: expected a version of trial\.ball that this program reads, 1 to 3, got 4/,
  ],
  [
    'no version',
    { declaration: 'trial.ball', version: 0, value: {} },
    /start\.version: expected the version of a declaration, 1 or more, got 0/,
  ],
  ['no name', { declaration: 'ball', version: 1, value: {} }, /start\.declaration: expected the name of a declaration/],
  ['no object', { declaration: 'trial.ball', version: 3, value: [] }, /start\.value: expected an object/],
  ['a text', '{"x":1}', /start: expected an object with declaration, version, value/],
])('poison: %s', (_, start, message) => {
  expect(() => startIn(recordOf(start))).toThrow(PoisonError)
  expect(() => startIn(recordOf(start))).toThrow(message)
})

test('a value whose declaration this process does not have is passed on as it is, and equal in any order of keys', () => {
  const [one, other] = [
    { declaration: 'elsewhere.thing', version: 9, value: { b: [1, { y: 2, x: 1 }], a: null } },
    { declaration: 'elsewhere.thing', version: 9, value: { a: null, b: [1, { x: 1, y: 2 }] } },
  ]
  expect(startIn(recordOf(one))).toEqual(one)
  expect(encodeEvent(asked, ask(one)).value).toEqual(encodeEvent(asked, ask(other)).value)
  expect(canonicalHash(asked, ask(one))).toBe(canonicalHash(asked, ask(other)))
  const changed = { ...one, value: { ...one.value, a: 1 } }
  expect(canonicalHash(asked, ask(changed))).not.toBe(canonicalHash(asked, ask(one)))
  expect(firstDifference(asked, ask(one), ask(changed))?.path).toBe('field start')
})

test('a difference in a value is named by its path', () => {
  const difference = firstDifference(
    asked,
    ask(declaredAs(ball, { x: 0.5, spin: 1 })),
    ask(declaredAs(ball, { x: 0.5, spin: 2 })),
  )
  expect(difference).toEqual({ path: 'field start.value.spin', expected: '1', actual: '2' })
})

test('the JSON Schema has the fields of every declaration', () => {
  const schema = jsonSchemaOf(asked) as unknown as { properties: { start: { anyOf: { properties: object }[] } } }
  expect(schema.properties.start.anyOf.map(({ properties }) => properties)).toContainEqual({
    declaration: { const: 'trial.ball' },
    version: { const: 3 },
    value: expect.objectContaining({ required: ['x', 'spin'], additionalProperties: false }),
  })
})

test('only a row’s own fields are declared values, and a name has one declaration', () => {
  const { type, version, retention, about } = asked
  const shared = { type, version, key: 'id', retention, about } as const
  for (const inner of [list(declared()), struct({ deep: declared() })]) {
    expect(() => defineEvent({ ...shared, encoding: 'json', row: { id: utf8(), start: inner } })).toThrow(
      /field start: expected a declared value in a field of the row itself/,
    )
  }
  const fields = { x: float64() }
  expect(() => defineValue({ name: 'trial.ball', version: 1, about: '', fields })).toThrow(/another declaration has/)
  const frame = { frame: list(tensor('uint8', [2])) }
  expect(() => defineValue({ name: 'trial.film', version: 1, about: '', fields: frame })).toThrow(/expected no tensor/)
  expect(() => defineValue({ name: 'Ball', version: 1, about: '', fields })).toThrow(/expected a name family\.noun/)
  expect(() =>
    defineValue({
      name: 'trial.gap',
      version: 3,
      about: '',
      fields,
      earlier: [{ version: 1, fields, upcast: (v) => v }],
    }),
  ).toThrow(/earlier version 1: expected 2/)
})
