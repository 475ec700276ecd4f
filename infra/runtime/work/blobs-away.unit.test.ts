import { expect, test } from 'vitest'
import type { Transform } from '../../../processors/processor.ts'
import { defineEvent, type Event } from '../../../schemas/declare/event.ts'
import { int32, list, utf8 } from '../../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { encodeEvent } from '../../../schemas/wire/codec.ts'
import type { Blob } from '../../../schemas/wire/offload.ts'
import { appendRaw, recordsOf, runUntilRead } from '../../../testing/counting.ts'
import { example } from '../../../testing/test-driver.ts'
import { BlobCorruptError, type Blobs, BlobsAwayError } from '../../blobs/blobs.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { deadLetters, type FoundLetter, retryDeadLetter } from '../rebuild/retry-dead-letter.ts'
import { topicsOf } from '../state/topics.ts'

/** Events whose large column is stored as a blob, and a transform that adds it up. */

const shared = { version: 1, key: 'who', retention: 'source', about: '' } as const
const measured = defineEvent({
  ...shared,
  type: 'test.measured',
  encoding: 'arrow',
  row: { who: utf8(), values: list(int32()) },
})
const summed = defineEvent({ ...shared, type: 'test.summed', encoding: 'json', row: { who: utf8(), sum: int32() } })
const EVENTS = [measured, summed]
const vocabulary = catalogueOf(EVENTS)

function summing(apply: Transform['apply'] = sum): Transform {
  return {
    shape: 'transform',
    name: 'sum',
    version: 1,
    about: 'adds up',
    variant: [],
    produces: 'derived',
    inputs: [measured],
    outputs: [summed],
    max_batch: 4,
    apply,
  }
}

const sum: Transform['apply'] = (events, { emit }) => {
  for (const event of events as Event<typeof measured>[]) {
    const total = event.data.flatMap(({ values }) => [...values]).reduce((all, value) => all + value, 0)
    emit(summed, { who: event.key, sum: total }, { causes: [event] })
  }
}

/** A log with a small event, a large one whose blob is not put yet, and another small one. */
async function recorded() {
  const log = memoryLog()
  await log.createTopics(topicsOf(EVENTS, [{ name: 'sum' }], 1))
  const columns: Blob[] = []
  for (const [who, length] of [
    ['before', 1],
    ['large', 30_000],
    ['after', 1],
  ] as const) {
    const values = Array.from({ length }, () => 1)
    const { key, headers, value, blobs } = encodeEvent(measured, example(measured, [{ who, values }], { id: who }))
    columns.push(...blobs)
    await appendRaw(log, measured.type, 0, { key, headers, value })
  }
  expect(columns).toHaveLength(1)
  const [column] = columns as [Blob]
  return { log, column }
}

async function sumsOf(log: ReturnType<typeof memoryLog>): Promise<unknown[]> {
  const values = (await recordsOf(log, summed.type)).map(({ value }) => JSON.parse(Buffer.from(value ?? []).toString()))
  return values.map(({ who, sum }) => `${who} ${sum}`)
}

async function lettersOf(log: ReturnType<typeof memoryLog>): Promise<FoundLetter[]> {
  const letters: FoundLetter[] = []
  for await (const letter of deadLetters(log)) letters.push(letter)
  return letters
}

test.each([
  ['BlobsAwayError', () => new BlobsAwayError('away')],
  ['a disk that fails', () => Object.assign(new Error('EIO'), { code: 'EIO' })],
  ['an error of unknown kind', () => new Error('something')],
])('a worker waits for an unavailable blob store: %s', async (_, error) => {
  const { log, column } = await recorded()
  const whole = memoryBlobs()
  await whole.put(column.bytes, column.ref.media_type)
  let times = 3
  const get: Blobs['get'] = async (ref) => {
    if (times-- > 0) throw error()
    return whole.get(ref)
  }
  const events = await runUntilRead({
    log,
    blobs: { ...whole, get },
    processor: summing(),
    vocabulary,
    partitions: 1,
  })
  expect(events.filter(({ kind }) => kind === 'retrying')).toHaveLength(3)
  expect(await sumsOf(log)).toEqual(['before 1', 'large 30000', 'after 1'])
  expect(await lettersOf(log)).toEqual([])
})

test('a missing blob makes a dead letter; a retry succeeds when the blob is back', async () => {
  const { log, column } = await recorded()
  const blobs = memoryBlobs()
  const run = () => runUntilRead({ log, blobs, processor: summing(), vocabulary, partitions: 1 })
  await run()
  expect(await sumsOf(log)).toEqual(['before 1', 'after 1'])
  const [found, ...others] = await lettersOf(log)
  expect(others).toEqual([])
  const letter = found as FoundLetter
  expect(letter.letter).toMatchObject({ failure: 'poison', error: expect.stringContaining(column.ref.sha256) })
  const refused = await retryDeadLetter(letter, { log, blobs, vocabulary })
  expect(refused).toMatchObject({ outcome: 'refused', reason: expect.stringContaining('put the blob back and retry') })
  const away: Blobs = { ...blobs, get: () => Promise.reject(new BlobsAwayError('away')) }
  await expect(retryDeadLetter(letter, { log, blobs: away, vocabulary })).rejects.toThrow(BlobsAwayError)
  const damaged: Blobs = { ...blobs, get: () => Promise.reject(new BlobCorruptError('damaged')) }
  expect(await retryDeadLetter(letter, { log, blobs: damaged, vocabulary })).toMatchObject({ outcome: 'refused' })

  await blobs.put(column.bytes, column.ref.media_type)
  expect((await retryDeadLetter(letter, { log, blobs, vocabulary })).outcome).toBe('appended')
  await run()
  expect(await sumsOf(log)).toEqual(['before 1', 'after 1', 'large 30000'])
})

test('a transform whose dependency fails gets the same events again', async () => {
  const { log, column } = await recorded()
  const blobs = memoryBlobs()
  await blobs.put(column.bytes, column.ref.media_type)
  let times = 2
  const processor = summing(async (events, context) => {
    if (times-- > 0)
      throw new TypeError('fetch failed', { cause: Object.assign(new Error(), { code: 'ECONNREFUSED' }) })
    await sum(events, context)
  })
  const events = await runUntilRead({ log, blobs, processor, vocabulary, partitions: 1 })
  expect(events.filter(({ kind }) => kind === 'retrying')).toHaveLength(2)
  expect(await sumsOf(log)).toEqual(['before 1', 'large 30000', 'after 1'])
  expect(await lettersOf(log)).toEqual([])
})
