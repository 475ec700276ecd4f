import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { NewRecord } from '../log.ts'
import { BatchBuilder } from './batch-builder.ts'
import { COMPRESSIONS } from './codecs.ts'
import { batchesIn, recordsOf } from './record-batch.ts'

const stamp = { producer: 7n, epoch: 2, sequence: 5, now_ms: 1_700_000_000_000 }

async function readBack(records: readonly NewRecord[], compression: (typeof COMPRESSIONS)[number] = 'none') {
  const builder = new BatchBuilder()
  for (const record of records) builder.add(record)
  const [batch, ...rest] = [...batchesIn(await builder.finish({ ...stamp, compression }))]
  if (batch === undefined || rest.length > 0) throw new Error('expected one batch')
  return recordsOf(batch, 'topic', 3, 0n)
}

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('', 'a', 'ab', 'ba', 'ä', '1.0'),
  // Around the length from which texts are written in another way, also where that is only seen at their end.
  fc.string({ unit: 'binary-ascii', minLength: 60, maxLength: 70 }).map((ascii) => `${ascii}ä`),
  fc.string({ unit: 'binary-ascii', minLength: 60, maxLength: 300 }),
)
const record: fc.Arbitrary<NewRecord> = fc.record({
  key: fc.option(text),
  headers: fc.array(fc.record({ name: text, value: text }), { maxLength: 5 }),
  value: fc.option(fc.uint8Array({ maxLength: 40 })),
})

test('what is written is read back, whatever headers records share with the one before, or do not', async () => {
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

test('a header that is not repeated keeps its own text, also where its length is the one before', async () => {
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
