import { expect, test } from 'vitest'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import {
  add,
  append,
  appendRaw,
  counting,
  EVENTS,
  recordsOf,
  runUntilRead,
  sumsOf,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { DEAD_LETTERS_TOPIC } from '../internal/internal-topics.ts'
import { headerOf } from '../internal/json-records.ts'
import { deadLetters, type FoundLetter, retryDeadLetter, wasRetried } from './retry-dead-letter.ts'

async function lettersOf(log: ReturnType<typeof memoryLog>): Promise<FoundLetter[]> {
  const found: FoundLetter[] = []
  for await (const letter of deadLetters(log)) found.push(letter)
  return found
}

test('a retried dead letter is a new fact caused by it, which a corrected processor accepts; a second retry adds nothing', async () => {
  const log = memoryLog()
  const blobs = memoryBlobs()
  await log.createTopics(TOPICS)
  await append(log, add('ann', 1), add('ann', -2), add('ann', 4))
  await runUntilRead({ log, blobs })
  expect(await sumsOf(log, 'ann')).toEqual([1, 5])
  const [found] = await lettersOf(log)
  expect(found?.letter).toMatchObject({ processor: 'count', failure: 'bug' })

  const first = await retryDeadLetter(found as FoundLetter, { log, blobs, vocabulary })
  expect(first.outcome).toBe('appended')
  const again = await retryDeadLetter(found as FoundLetter, { log, blobs, vocabulary })
  expect(again).toEqual({ ...first, outcome: 'already' })
  const records = await recordsOf(log, 'test.added')
  expect(records).toHaveLength(4)
  const ids = records.map((record) => headerOf(record, 'ce_id'))
  expect(new Set(ids).size).toBe(4)
  const retried = records.find((record) => headerOf(record, 'ce_source') === '/operators/dlq-retry')
  expect(retried && headerOf(retried, 'ce_causationid')).toMatch(/^[0-9a-f]{32}$/)

  const corrected = counting({
    version: 2,
    apply: (state, event, emit) => {
      const amount = Math.abs((event.data as { amount: number }).amount)
      const sum = ((state as { sum: number } | undefined)?.sum ?? 0) + amount
      emit(EVENTS[2] as never, { who: event.key, sum } as never)
      return { sum }
    },
  })
  await runUntilRead({ log, blobs, processor: corrected })
  expect(await sumsOf(log, 'ann')).toEqual([1, 5, 7])
})

test('a retry that fails again is another dead letter, which can be retried in its turn', async () => {
  const log = memoryLog()
  const blobs = memoryBlobs()
  await log.createTopics(TOPICS)
  await append(log, add('ann', -2))
  await runUntilRead({ log, blobs })
  const [found] = await lettersOf(log)
  await retryDeadLetter(found as FoundLetter, { log, blobs, vocabulary })
  await runUntilRead({ log, blobs })
  const letters = await lettersOf(log)
  expect(letters).toHaveLength(2)
  expect(new Set(letters.map(({ number }) => number)).size).toBe(2)
  expect(new Set(letters.map(({ letter }) => letter.ce_id)).size).toBe(2)
  expect((await retryDeadLetter(letters[1] as FoundLetter, { log, blobs, vocabulary })).outcome).toBe('appended')
})

test('a record that cannot be decoded is refused with the reason, and nothing is appended', async () => {
  const log = memoryLog()
  const blobs = memoryBlobs()
  await log.createTopics(TOPICS)
  await appendRaw(log, 'test.added', 0, { key: 'x', headers: [], value: Buffer.from('not an event') })
  await appendRaw(log, 'test.added', 1, { key: 'y', headers: [], value: Buffer.alloc(100_000, 7) })
  await runUntilRead({ log, blobs })
  for (const found of await lettersOf(log)) {
    const refused = await retryDeadLetter(found, { log, blobs, vocabulary })
    expect(refused).toMatchObject({ outcome: 'refused', reason: expect.stringContaining('header ce_') })
  }
  expect(await recordsOf(log, 'test.added')).toHaveLength(2)
  const [found] = await lettersOf(log)
  const unknown = await retryDeadLetter(found as FoundLetter, { log, blobs, vocabulary: catalogueOf([]) })
  expect(unknown).toMatchObject({ outcome: 'refused', reason: expect.stringContaining('no event') })
})

test('a letter of a recreated topic is not taken for the one that was retried at the same place', async () => {
  const broker = new MemoryBroker()
  const log = memoryLog({ broker })
  const blobs = memoryBlobs()
  await log.createTopics(TOPICS)
  await append(log, add('ann', -2))
  await runUntilRead({ log, blobs })
  const [first] = await lettersOf(log)
  expect((await retryDeadLetter(first as FoundLetter, { log, blobs, vocabulary })).outcome).toBe('appended')
  broker.deleteTopic(DEAD_LETTERS_TOPIC)
  await log.createTopics(TOPICS)
  await append(log, add('ann', -2))
  await runUntilRead({ log, blobs })
  const letters = await lettersOf(log)
  const same_place = letters.find(({ number }) => number === first?.number) as FoundLetter
  expect(await wasRetried(log, same_place)).toBe(false)
  expect((await retryDeadLetter(same_place, { log, blobs, vocabulary })).outcome).toBe('appended')
  expect(await wasRetried(log, same_place)).toBe(true)
})
