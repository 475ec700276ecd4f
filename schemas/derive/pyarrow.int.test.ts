import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { catalogue } from '../../streams/vocabulary.ts'
import { arbitraryData, eventOf, everyTypeBatch, present } from '../conformance/arbitrary.ts'
import { defineEvent, type Event, type EventType } from '../declare/event.ts'
import { int32 } from '../declare/logical-types.ts'
import { catalogueOf } from '../declare/registry.ts'
import { canonicalHash } from '../wire/canonical.ts'
import { decodeEvent, encodeEvent } from '../wire/codec.ts'
import { jsonCodec } from '../wire/json-codec.ts'
import { keysSorted } from '../wire/keys-sorted.ts'
import type { Json } from '../wire/physical-type.ts'
import { pythonReaderOf } from './python-reader.ts'

const python = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
const script = fileURLToPath(new URL('./pyarrow-check.py', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'plumbline-pyarrow-'))
const fileOf = (type: EventType, ending: string) => join(folder, `${type.type.replace('.', '_')}.${ending}`)

/** Facts too, encoded as a batch: a Python user collects many facts that way. */
const types = [...catalogue, everyTypeBatch].map((type) => defineEvent({ ...type, encoding: 'arrow' }))
const events = new Map<EventType, Event>(
  types.map((type) => {
    const rows = fc.sample(arbitraryData(type), { numRuns: 8, seed: 42 }).flat() as Record<string, unknown>[]
    const sameKey = rows.map((row) => ({ ...row, [type.key]: 'Schlüssel' }))
    const keyOf = (row: Record<string, unknown>) => JSON.stringify(type.row_key.map((name) => row[name]))
    const distinct = [...new Map(sameKey.map((row, at) => [type.row_key.length > 0 ? keyOf(row) : at, row])).values()]
    return [type, eventOf(type, distinct)]
  }),
)
const emitted = (type: EventType) => present(events.get(type))
const encodedOf = (type: EventType) => encodeEvent(type, emitted(type))

beforeAll(() => {
  if (!existsSync(python)) {
    throw new Error(
      `${python} is missing: npm test makes it; by hand: uv venv --python 3.11 .venv && uv pip sync --require-hashes python/requirements.txt`,
    )
  }
  for (const type of types) {
    writeFileSync(fileOf(type, 'arrow'), encodedOf(type).value)
    writeFileSync(fileOf(type, 'py'), pythonReaderOf(type))
  }
  execFileSync(python, [script, folder], { stdio: ['ignore', 'inherit', 'inherit'], timeout: 60_000 })
})
afterAll(() => rmSync(folder, { recursive: true }))

interface Read {
  readonly columns: Record<string, unknown[]>
  readonly tensors: Record<string, { shape: number[]; dtype: string; last: number }>
}
const readBy = (type: EventType): Read => JSON.parse(readFileSync(fileOf(type, 'json'), 'utf8'))

/** pyarrow returns a map as pairs; everything else as JSON does. */
function asPairs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asPairs)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value).map(([key, inner]) => [key, asPairs(inner)])
}

test.each(types)('pyarrow reads $type by the generated schema, value for value', (type) => {
  const { toJson } = jsonCodec(type.row)
  const rows = (emitted(type).data as object[]).map((row) => toJson(row) as Record<string, unknown>)
  const { columns } = readBy(type)
  expect(Object.keys(columns)).toEqual(Object.keys(type.row))
  for (const [name, values] of Object.entries(columns)) {
    // The round trip turns −0 into 0, because JSON has no −0; objects and pairs are both compared as pairs.
    const expected = JSON.parse(JSON.stringify(rows.map((row) => asPairs(keysSorted(row[name] as Json)))))
    // A declared value is JSON in a text there.
    const is_text = type.row[name]?.logical.kind === 'declared'
    const read = is_text ? values.map((text) => JSON.parse(String(text)) as unknown) : values
    expect(JSON.parse(JSON.stringify(asPairs(keysSorted(read as Json)))), name).toEqual(expected)
  }
})

test.each(types)('what pyarrow writes as $type is decoded, value for value', (type) => {
  const value = readFileSync(fileOf(type, 'echo.arrow'))
  const decoded = decodeEvent({ ...encodedOf(type), value }, catalogueOf(types))
  expect(canonicalHash(type, decoded)).toBe(canonicalHash(type, emitted(type)))
})

test('a tensor is a tensor there, with its shape and its type', () => {
  const rows = emitted(present(types.at(-1))).data as unknown as { flow_tensor: Float32Array }[]
  const { tensors } = readBy(everyTypeBatch)
  expect(tensors.flow_tensor).toMatchObject({ shape: [rows.length, 2, 3], dtype: 'float32' })
  expect(tensors.bytes_tensor).toMatchObject({ shape: [rows.length, 2, 2], dtype: 'uint8' })
  expect(tensors.wide_tensor).toMatchObject({ shape: [rows.length, 1, 2, 2], dtype: 'float64' })
  expect(tensors.flow_tensor?.last).toBe(rows.at(-1)?.flow_tensor[5])
})

test('the generated module reads like this', () => {
  const { a_time, flow_tensor, maybe_map, a_struct, group_id } = everyTypeBatch.row
  const small = defineEvent({
    ...everyTypeBatch,
    key: 'group_id',
    row_key: ['place'],
    row: { group_id, place: int32({ min: 0, max: 15 }), a_time, flow_tensor, maybe_map, a_struct },
  })
  expect(pythonReaderOf(small)).toMatchInlineSnapshot(`
    """"test.everything_batched v1: Holds one of everything.

    Rows of one event differ in place.

    Made from the declaration plumbline:test.everything_batched/1/9d4df7c879489c43; do not edit.
    """

    import pyarrow as pa

    schema = pa.schema([
        pa.field("group_id", pa.utf8(), nullable=False),
        pa.field("place", pa.int32(), nullable=False),  # 0 … 15
        pa.field("a_time", pa.timestamp('ms', tz='UTC'), nullable=False),
        pa.field("flow_tensor", pa.fixed_shape_tensor(pa.float32(), [2, 3]), nullable=False),
        pa.field("maybe_map", pa.map_(pa.utf8(), pa.field("value", pa.list_(pa.field("item", pa.int64(), nullable=False)), nullable=False), keys_sorted=True)),
        pa.field("a_struct", pa.struct([pa.field("x", pa.float64(), nullable=False), pa.field("inner", pa.struct([pa.field("label", pa.utf8())]), nullable=False)]), nullable=False),
    ])


    def read(value):
        """The rows of one record's value, an Arrow IPC stream. Raises ValueError when it is not of this schema."""
        table = pa.ipc.open_stream(value).read_all()
        if not table.schema.equals(schema, check_metadata=False):
            raise ValueError(f"expected {schema}, got {table.schema}")
        return table
    "
  `)
})
