import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseHeaders } from '../../../schemas/wire/headers.ts'
import type { LogRecord, NewRecord } from '../port/log.ts'
import { BatchBuilder } from './batch-builder.ts'
import { COMPRESSIONS } from './codecs.ts'
import { type Batch, BatchRecords, batchesIn } from './record-batch.ts'

const stamp = { producer: 7n, epoch: 2, sequence: 5, now_ms: 1_700_000_000_000 }

function recordsOf(batch: Batch, at_least = 0n): LogRecord[] {
  const found: LogRecord[] = []
  const reader = new BatchRecords(batch, 'topic', 3, at_least)
  for (let records = reader.next(); records.length > 0; records = reader.next()) found.push(...records)
  return found
}

async function batchOf(records: readonly NewRecord[], compression: (typeof COMPRESSIONS)[number] = 'none') {
  const builder = new BatchBuilder()
  for (const record of records) builder.add(record)
  const [batch, ...rest] = [...batchesIn(await builder.finish({ ...stamp, compression }))]
  if (batch === undefined || rest.length > 0) throw new Error('expected one batch')
  return batch
}

const readBack = async (...written: Parameters<typeof batchOf>) => recordsOf(await batchOf(...written))

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('', 'a', 'ab', 'ba', 'ä', '1.0'),
  // Around the length at which the encoding method changes, also with a non-ASCII character only at the end.
  fc.string({ unit: 'binary-ascii', minLength: 60, maxLength: 70 }).map((ascii) => `${ascii}ä`),
  fc.string({ unit: 'binary-ascii', minLength: 60, maxLength: 300 }),
)
const record: fc.Arbitrary<NewRecord> = fc.record({
  key: fc.option(text),
  headers: fc.array(fc.record({ name: text, value: text }), { maxLength: 5 }),
  value: fc.option(fc.uint8Array({ maxLength: 40 })),
})

test('records are read back as written, whether or not they share headers with the record before', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { minLength: 1, maxLength: 8 }),
      fc.constantFrom(...COMPRESSIONS),
      async (records, codec) => {
        const found = await readBack(records, codec)
        expect(found.map(({ offset }) => offset)).toEqual(records.map((_, at) => BigInt(at)))
        expect(
          found.map(({ key, headers, value }) => ({ key, headers, value: value === null ? null : [...value] })),
        ).toEqual(
          records.map(({ key, headers, value }) => ({ key, headers, value: value === null ? null : [...value] })),
        )
      },
    ),
  )
})

test('a header that is not repeated keeps its own text, also where it has the length of the one before', async () => {
  const of = (...pairs: [string, string][]): NewRecord => ({
    key: null,
    headers: pairs.map(([name, value]) => ({ name, value })),
    value: null,
  })
  const records = [
    of(['id', 'aaaa'], ['type', 'x']),
    of(['id', 'aaab'], ['type', 'x']),
    of(['id', 'baab']),
    of(['id', 'baab'], ['kind', 'x'], ['more', '']),
    of(['id', ''], ['type', 'y']),
  ]
  expect((await readBack(records)).map(({ headers }) => headers)).toEqual(records.map(({ headers }) => headers))
})

test('a batch that is too large for memory is read as one record, which says so and cannot be decoded', () => {
  const bomb: Batch = {
    base: 40n,
    next: 45n,
    producer: 7n,
    transactional: true,
    control: false,
    codec: 4,
    first_ms: 1,
    max_ms: 2,
    log_append_time: false,
    count: 5,
    records: zstdCompressSync(Buffer.alloc(256 * 2 ** 20 + 1)),
  }
  const [found, ...more] = recordsOf(bomb, 40n)
  expect(more).toEqual([])
  expect(found).toMatchObject({ topic: 'topic', partition: 3, offset: 40n, key: null, value: null })
  expect(() => parseHeaders(found?.headers ?? [])).toThrow(
    /^a batch of 5 records is too large: \d+ compressed bytes hold more than 268435456$/,
  )
  expect(recordsOf(bomb, 41n)).toEqual([])
})

test('a record with more headers than memory should hold is a dead letter, and those around it are read', async () => {
  const header = { name: '', value: '' }
  const sound: NewRecord = { key: 'k', headers: [{ name: 'id', value: '1' }], value: Buffer.from('v') }
  const found = await readBack([sound, { ...sound, headers: Array(1025).fill(header) }, sound], 'zstd')
  expect(found.map(({ offset, key }) => [offset, key])).toEqual([
    [0n, 'k'],
    [1n, null],
    [2n, 'k'],
  ])
  expect(() => parseHeaders(found[1]?.headers ?? [])).toThrow(/^a record with 1025 headers: expected at most 1024$/)
  expect(found[2]?.headers).toEqual(sound.headers)
})
