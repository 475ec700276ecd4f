import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { LogRecord, NewRecord } from '../port/log.ts'
import { checkChunk, sealChunk } from './checksum.ts'
import { ChunkBuilder, HEAD_BYTES } from './chunk.ts'
import { type Budget, readChunk } from './read-chunk.ts'
import { chunkKey } from './tables.ts'

const words = fc.string({ unit: 'grapheme', maxLength: 30 })
const records: fc.Arbitrary<NewRecord> = fc.record({
  key: fc.option(words),
  headers: fc.array(fc.record({ name: words, value: words }), { maxLength: 6 }),
  value: fc.option(fc.uint8Array({ maxLength: 40_000 })),
})

function readAll(builder: ChunkBuilder): LogRecord[] {
  const found: LogRecord[] = []
  let first = 7
  for (const { bytes, count } of builder.finish()) {
    sealChunk(bytes, chunkKey(1, 2, first), 123)
    const budget: Budget = { bytes: 1e9, at_least_one: true }
    const next = readChunk(Buffer.from(bytes), { topic: 't', partition: 2, first }, 0, budget, found)
    expect(next).toBe(first + count)
    first = next
  }
  return found
}

test('records are read from chunks as they were written, with consecutive offsets', () => {
  fc.assert(
    fc.property(fc.array(records, { maxLength: 20 }), (written) => {
      const builder = new ChunkBuilder()
      for (const record of written) builder.add(record)
      const found = readAll(builder)
      expect(found.map(({ offset }) => offset)).toEqual(written.map((_, i) => BigInt(7 + i)))
      expect(found.every((one) => one.topic === 't' && one.partition === 2 && one.appended_ms === 123)).toBe(true)
      const plain = ({ key, headers, value }: NewRecord) => ({ key, headers, value: value && [...value] })
      expect(found.map(plain)).toEqual(written.map(plain))
    }),
  )
})

test('a read in the middle of a chunk starts and stops at the right record', () => {
  const builder = new ChunkBuilder()
  for (let i = 0; i < 10; i += 1) builder.add({ key: `${i}`, headers: [], value: Buffer.alloc(100) })
  const [chunk] = builder.finish()
  const bytes = Buffer.from(chunk?.bytes ?? [])
  for (let from = 0; from <= 10; from += 1) {
    const found: LogRecord[] = []
    const next = readChunk(
      bytes,
      { topic: 't', partition: 0, first: 0 },
      from,
      { bytes: 250, at_least_one: true },
      found,
    )
    expect(found.map(({ key }) => key)).toEqual(
      ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'].slice(from, from + 2),
    )
    expect(next).toBe(Math.min(from + 2, 10))
  }
})

test('headers that records share, and values that equal the key, are written once and read back unchanged', () => {
  const builder = new ChunkBuilder()
  const written: NewRecord[] = Array.from({ length: 200 }, (_, i) => ({
    key: i % 5 === 0 ? null : `key ${i}`,
    headers: [
      { name: 'type', value: 'same' },
      { name: 'id', value: `${i}` },
      { name: 'subject', value: `key ${i}` },
      ...(i % 3 === 0 ? [{ name: 'cause', value: 'é'.repeat(i % 4) }] : []),
      { name: 'last', value: i === 7 ? '' : 'same' },
    ],
    value: null,
  }))
  for (const record of written) builder.add(record)
  const found = readAll(builder)
  expect(found.map(({ key, headers, value }) => ({ key, headers, value }))).toEqual(written)
  const bytes = builder.chunks.reduce((sum, chunk) => sum + chunk.bytes.byteLength, 0)
  expect(bytes).toBeLessThan(200 * 80)
})

/** Written by the release before version 2: three records at 2023-11-14T22:13:20.123Z. */
const CHUNK_OF_VERSION_1 =
  'AQAAAAMAAAAAsIdW/rx4Qi8AAAAAAgARAAAAAgAAAAUAAAABAAAABwAAAAEAAABrMWNlX2lkYWNlX25vdGXDqQECAwsAAAAHAAAAAAAAAAAAABsA' +
  'AAAEAQAIAAAAAgAAAAUAAAABAAAAazNjZV9pZGI='

test('a chunk of version 1 is read as it was written', () => {
  const bytes = Buffer.from(CHUNK_OF_VERSION_1, 'base64')
  const found: LogRecord[] = []
  expect(readChunk(bytes, { topic: 't', partition: 0, first: 4 }, 0, { bytes: 1e9, at_least_one: true }, found)).toBe(7)
  const id = (value: string) => ({ name: 'ce_id', value })
  expect(found.map(({ key, headers, value }) => ({ key, headers, value: value && [...value] }))).toEqual([
    { key: 'k1', headers: [id('a'), { name: 'ce_note', value: 'é' }], value: [1, 2, 3] },
    { key: null, headers: [], value: null },
    { key: 'k3', headers: [id('b')], value: [] },
  ])
  expect(found[0]).toMatchObject({ offset: 4n, appended_ms: 1_700_000_000_123 })
})

function sealed(value_bytes: number): { bytes: Buffer; key: Buffer } {
  const builder = new ChunkBuilder()
  for (const key of ['a', 'b', null]) {
    builder.add({ key, headers: [{ name: 'ce_id', value: `${key}` }], value: Buffer.alloc(value_bytes, 7) })
  }
  const bytes = Buffer.from(builder.finish()[0]?.bytes ?? [])
  const key = chunkKey(3, 1, 40)
  sealChunk(bytes, key, 1_700_000_000_123)
  return { bytes, key }
}

test('any changed bit of a chunk is detected, in its head and its checksum too', () => {
  const { bytes, key } = sealed(20)
  expect(checkChunk(bytes, key)).toBe('sound')
  for (let bit = 0; bit < bytes.byteLength * 8; bit += 1) {
    const damaged = Buffer.from(bytes)
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
    expect(checkChunk(damaged, key), `bit ${bit}`).toBe('damaged')
  }
})

test('a chunk that is truncated, too long, zeroed or another one’s is detected', () => {
  const { bytes, key } = sealed(500)
  for (let length = 0; length < bytes.byteLength; length += 1) {
    expect(checkChunk(bytes.subarray(0, length), key), `${length} bytes`).toBe('damaged')
  }
  expect(checkChunk(Buffer.concat([bytes, Buffer.alloc(1)]), key)).toBe('damaged')
  expect(checkChunk(Buffer.alloc(bytes.byteLength), key)).toBe('damaged')
  for (const other of [chunkKey(2, 1, 40), chunkKey(3, 0, 40), chunkKey(3, 1, 41)]) {
    expect(checkChunk(bytes, other)).toBe('damaged')
  }
})

test('a chunk of version 1, which has no checksum, counts as unchecksummed; lengths that do not add up are detected', () => {
  const bytes = Buffer.from(CHUNK_OF_VERSION_1, 'base64')
  expect(checkChunk(bytes, chunkKey(1, 0, 0))).toBe('unchecksummed')
  expect(checkChunk(bytes.subarray(0, -1), chunkKey(1, 0, 0))).toBe('damaged')
  bytes.writeUInt32LE(4, 4)
  expect(checkChunk(bytes, chunkKey(1, 0, 0))).toBe('damaged')
})

test('a record of an unchecksummed chunk that claims more headers than it has bytes is damage, detected before any is allocated', () => {
  const bytes = Buffer.from(CHUNK_OF_VERSION_1, 'base64')
  const read = (chunk: Buffer) =>
    readChunk(chunk, { topic: 't', partition: 0, first: 4 }, 0, { bytes: 1e9, at_least_one: true }, [])
  bytes.writeUInt16LE(65_535, HEAD_BYTES + 5)
  expect(() => read(bytes)).toThrow(RangeError)
  const { bytes: sound } = sealed(20)
  const first = HEAD_BYTES + 4 + sound.readUInt32LE(HEAD_BYTES)
  const damaged = Buffer.from(sound)
  damaged[0] = 2
  expect(read(damaged)).toBe(7)
  damaged.writeUInt16LE(65_535, first + 5)
  expect(() => read(damaged)).toThrow('headers or texts are longer than their record')
})
