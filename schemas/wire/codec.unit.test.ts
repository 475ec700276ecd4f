import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { catalogue } from '../../streams/vocabulary.ts'
import { arbitraryData, eventOf, everyTypeBatch, everyTypeFact, present, sampleOf } from '../conformance/arbitrary.ts'
import { defineEvent, type Event } from '../declare/event.ts'
import { float64, int32, list, tensor, utf8 } from '../declare/logical-types.ts'
import { catalogueOf } from '../declare/registry.ts'
import { TensorRef } from '../declare/tensor-value.ts'
import { canonicalHash } from './canonical.ts'
import { blobsToDecode, decodeEvent, type EncodedEvent, encodeEvent, PoisonError } from './codec.ts'
import { offloadedBlobs } from './headers.ts'
import { readTensor } from './offload.ts'

const types = [...catalogue, everyTypeBatch, everyTypeFact]
const events = catalogueOf(types)

/** JSON has no −0, so events are compared by canonical hash; Arrow keeps −0, so there everything must be equal. */
test.each(types)('$type is read back as it was written, also from bytes at any alignment', (type) => {
  fc.assert(
    fc.property(arbitraryData(type), fc.nat({ max: 9 }), (data, shift) => {
      const event = eventOf(type, data, {
        causes: ['a', 'b'],
        correlation: 'c',
        model_hash: 'm',
        seed: '7',
        producer_version: '3',
      })
      const encoded = encodeEvent(type, event)
      const shifted = new Uint8Array(encoded.value.length + shift).subarray(shift)
      shifted.set(encoded.value)
      const decoded = decodeEvent({ ...encoded, value: shifted }, events)
      expect(canonicalHash(type, decoded)).toBe(canonicalHash(type, event))
      if (type.encoding === 'arrow') expect(isDeepStrictEqual(decoded, event)).toBe(true)
      expect(Buffer.compare(encodeEvent(type, decoded).value, encoded.value)).toBe(0)
    }),
    { numRuns: 50 },
  )
})

const fact = eventOf(everyTypeFact, sampleOf(everyTypeFact, 3))
const batch = eventOf(everyTypeBatch, sampleOf(everyTypeBatch, 5))
const good = encodeEvent(everyTypeFact, fact)
const goodBatch = encodeEvent(everyTypeBatch, batch)
const withHeader = (record: EncodedEvent, name: string, value?: string): EncodedEvent => ({
  ...record,
  headers: [
    ...record.headers.filter((header) => header.name !== name),
    ...(value === undefined ? [] : [{ name, value }]),
  ],
})
const json = (data: unknown) => ({ ...good, value: Buffer.from(JSON.stringify(data)) })

test.each<[string, object, string]>([
  ['no type', withHeader(good, 'ce_type'), 'header ce_type: expected a text that is not empty, got none'],
  [
    'a doubled header',
    { ...good, headers: [...good.headers, ...good.headers.slice(1, 2)] },
    'header ce_id: expected it once, got it twice',
  ],
  ['another CloudEvents', withHeader(good, 'ce_specversion', '0.3'), 'header ce_specversion: expected 1.0, got "0.3"'],
  [
    'a wrong time',
    withHeader(good, 'ce_time', 'now'),
    'header ce_time: expected RFC 3339 in UTC with milliseconds, got "now"',
  ],
  ['a wrong clock', withHeader(good, 'ce_clock', 'sun'), 'header ce_clock: expected virtual or wall, got "sun"'],
  [
    'unsorted causes',
    withHeader(good, 'ce_causationid', 'b,a'),
    'header ce_causationid: expected ids in ascending order',
  ],
  [
    'a foreign schema',
    withHeader(good, 'ce_dataschema', 'https://a.b/c'),
    'header ce_dataschema: expected plumbline:test.everything_said/VERSION/FINGERPRINT',
  ],
  [
    'a later version',
    withHeader(good, 'ce_dataschema', `plumbline:test.everything_said/2/${'0'.repeat(16)}`),
    'test.everything_said v2 was written by a newer program: update this one; this program reads up to v1',
  ],
  [
    'another declaration',
    withHeader(good, 'ce_dataschema', `plumbline:test.everything_said/1/${'0'.repeat(16)}`),
    "the writer's declaration of this version is another one",
  ],
  [
    'a wrong content type',
    withHeader(good, 'content-type', 'text/plain'),
    'header content-type: expected application/json, got "text/plain"',
  ],
  ['a tombstone', { ...good, value: null }, 'test.everything_said v1: expected a value, got none'],
  ['no JSON', { ...good, value: Buffer.from('{') }, 'test.everything_said v1: expected a JSON object: '],
  ['no UTF-8', { ...good, value: Buffer.from([34, 255, 34]) }, 'the bytes are not UTF-8'],
  [
    'an invalid value',
    json({ ...fact.data, a_float64: 'x' }),
    'v1: field a_float64: expected a finite float64, got "x"',
  ],
  [
    'a wrapped tensor',
    json({ ...fact.data, a_blob: { ...fact.data.a_blob }, bytes_tensor: [1, 2, 3, 256] }),
    'field bytes_tensor: expected a Uint8Array of 4 finite elements',
  ],
  ['a bare array', json([]), 'v1: expected an object with group_id'],
  ['a wrong record key', { ...good, key: 'other' }, 'record key: expected group_id of the data'],
  ['no record key', { ...good, key: null }, 'record key: expected group_id of the data'],
  [
    'a wrong partition key',
    withHeader(good, 'ce_partitionkey', 'other'),
    'header ce_partitionkey: expected group_id of the data',
  ],
  [
    'no Arrow',
    { ...goodBatch, value: Buffer.from('not arrow at all') },
    'test.everything_batched v1: expected an Arrow IPC stream of its rows: no Arrow IPC message at byte 0',
  ],
  ['an empty value', { ...goodBatch, value: new Uint8Array() }, 'the stream does not begin with a schema'],
])('%s is poison, with the reason', (_what, record, problem) => {
  const decode = () => decodeEvent(record as EncodedEvent, events)
  expect(decode).toThrow(PoisonError)
  expect(decode).toThrow(problem)
})

test('an unregistered type is poison', () => {
  expect(() => decodeEvent(good, catalogueOf([]))).toThrow(
    'header ce_type: "test.everything_said" is not in the catalogue',
  )
})

test('whatever bits flip in a batch, it is poison or an event, at once', () => {
  fc.assert(
    fc.property(fc.nat(goodBatch.value.length - 1), fc.integer({ min: 1, max: 255 }), fc.nat(), (at, flip, cut) => {
      const value = Uint8Array.from(goodBatch.value)
      value[at] = (value[at] ?? 0) ^ flip
      const until = cut % 5 === 0 ? at : value.length
      try {
        decodeEvent({ ...goodBatch, value: value.subarray(0, until) }, events)
      } catch (error) {
        expect(error).toBeInstanceOf(PoisonError)
      }
    }),
    { numRuns: 3000 },
  )
})

test('what breaks the declaration is never encoded', () => {
  const encode = (change: object) => () => encodeEvent(everyTypeFact, { ...fact, ...change } as Event)
  expect(encode({ version: 2 })).toThrow('expected test.everything_said v1, got test.everything_said v2')
  expect(encode({ key: 'other' })).toThrow('key: expected group_id of the data')
  expect(encode({ data: { ...fact.data, a_bool: 3 } })).toThrow('field a_bool: expected true or false, got 3')
  expect(encode({ causes: ['b', 'a'] })).toThrow('causes: expected ids in ascending order, each once, got "b,a"')
  expect(encode({ id: 'a,b' })).toThrow('id: expected no comma')
  expect(encode({ time: '2026-01-31' })).toThrow('time: expected RFC 3339 in UTC with milliseconds, got "2026-01-31"')
  expect(encode({ seed: '\udc00' })).toThrow('ce_seed: expected whole Unicode characters')
})

const framesSeen = defineEvent({
  type: 'test.frames_seen',
  version: 1,
  key: 'id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'Large columns.',
  row: { id: utf8(), flow: tensor('float32', [100, 100]), ids: list(int32()), name: utf8(), x: float64() },
})
const frames = (rows: number, tokens: number, name = '') =>
  eventOf(
    framesSeen,
    Array.from({ length: rows }, (_, i) => ({
      id: 'e',
      flow: Float32Array.from({ length: 10_000 }, (__, at) => at + i),
      ids: Array.from({ length: tokens }, (__, at) => at),
      name,
      x: i,
    })),
  )

test('a large column becomes a blob, the event stays the same, and reading restores it', () => {
  const event = frames(2, 10_000)
  const encoded = encodeEvent(framesSeen, event)
  expect(encoded.value.length).toBeLessThan(5_000)
  expect(encoded.blobs.map(({ ref, bytes }) => ref.bytes === bytes.length && ref.bytes > 64 * 1024)).toEqual([
    true,
    true,
  ])
  expect(offloadedBlobs(encoded)).toEqual(encoded.blobs.map(({ ref }) => ref))
  expect(
    Buffer.from(encoded.value).includes(
      '"rows":2,"type":{"kind":"tensor","dtype":"float32","shape":[100,100],"nullable":false},"numbers":20000,"min":0,"max":10000,"mean":5000',
    ),
  ).toBe(true)

  const lookup = catalogueOf([framesSeen])
  const stored = new Map(encoded.blobs.map(({ ref, bytes }) => [ref.sha256, bytes]))
  const decoded = decodeEvent(encoded, lookup, (sha256) => stored.get(sha256))
  expect(isDeepStrictEqual(decoded, event)).toBe(true)
  expect(() => decodeEvent(encoded, lookup)).toThrow(/^column ids is in blob [0-9a-f]{64}, which was not fetched/)

  const [flow, ids] = encoded.blobs
  const swapped = new Map([
    [present(flow).ref.sha256, present(ids).bytes],
    [present(ids).ref.sha256, present(flow).bytes],
  ])
  expect(() => decodeEvent(encoded, lookup, (sha256) => swapped.get(sha256))).toThrow(
    /expected the column flow FixedSizeList/,
  )
})

test('a stored tensor is read as a reference, which another event can have as its value', () => {
  const event = frames(2, 10)
  const encoded = encodeEvent(framesSeen, event)
  const lookup = catalogueOf([framesSeen])
  expect(blobsToDecode(encoded, lookup)).toEqual([])
  const read = decodeEvent(encoded, lookup) as Event<typeof framesSeen>
  expect(read.data.map(({ flow }) => flow instanceof TensorRef && flow.row)).toEqual([0, 1])
  const again = encodeEvent(framesSeen, read)
  expect(again.blobs).toEqual([])
  expect([again.value, again.headers]).toEqual([encoded.value, encoded.headers])
  const [, second] = read.data.map(({ flow }) => readTensor(flow as TensorRef, present(encoded.blobs[0]).bytes))
  expect(second).toEqual(event.data[1]?.flow)
})

test('a reference is no value of a field with another shape, and its description is not believed', () => {
  const encoded = encodeEvent(framesSeen, frames(2, 10))
  const lookup = catalogueOf([framesSeen])
  const { data } = decodeEvent(encoded, lookup) as Event<typeof framesSeen>
  const wide = defineEvent({
    ...framesSeen,
    key: 'id',
    row_key: [],
    type: 'test.wide_seen',
    row: { ...framesSeen.row, flow: tensor('float32', [50, 200]) },
  })
  expect(() => encodeEvent(wide, eventOf(wide, data))).toThrow(
    /row 0 field flow: expected a Float32Array of 10000 finite elements, shape \[50, 200\], got row 0 of the tensors in blob/,
  )
  const forged = (find: string, instead: string) => ({
    ...encoded,
    value: Buffer.from(Buffer.from(encoded.value).toString('latin1').replace(find, instead), 'latin1'),
  })
  expect(() => decodeEvent(forged('"rows":2', '"rows":9'), lookup)).toThrow(PoisonError)
  expect(() => decodeEvent(forged('"numbers":20000', '"numbers":-2000'), lookup)).toThrow(/its description is damaged/)
})

test('a small event has no blobs, and the error for one over the limit names what fills it', () => {
  expect(encodeEvent(framesSeen, frames(1, 10)).blobs).toEqual([])
  expect(() => encodeEvent(framesSeen, frames(2, 10, 'n'.repeat(300_000)))).toThrow(
    /encoded as \d+ KiB, at most 512 KiB; most of it is field .*Split the rows over several events/,
  )
})
