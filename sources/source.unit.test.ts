import { expect, test } from 'vitest'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { MemoryBroker } from '../infra/log/memory/broker.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { TopicReplacedError } from '../infra/log/port/log.ts'
import type { Event } from '../schemas/declare/event.ts'
import { add, added, double, doubled, PARTITIONS, recordsOf, TOPICS } from '../testing/counting.ts'
import { runSource } from './run-source.ts'
import { inSteps } from './source.ts'

const source = (steps: number) =>
  inSteps({
    name: 'test',
    steps,
    types: [added, doubled],
    produce: async (from, to) =>
      Array.from({ length: to - from }, () => [
        { type: added, event: add('ann', 1) as unknown as Event },
        { type: doubled, event: double('ann') as unknown as Event },
      ]).flat(),
  })

async function broughtIn() {
  const broker = new MemoryBroker()
  const log = memoryLog({ broker })
  await log.createTopics(TOPICS)
  const options = { log, blobs: memoryBlobs(), partitions: PARTITIONS }
  expect(await runSource(source(3), options)).toEqual({ done: 3, already: 0, events: 6 })
  const makeAgain = async (topic: string) => {
    broker.deleteTopic(topic)
    await log.createTopics(TOPICS)
  }
  return { log, options, makeAgain }
}

for (const topic of [added.type, doubled.type]) {
  test(`a source whose topic ${topic} was deleted and recreated does not continue after records that are gone`, async () => {
    const { log, options, makeAgain } = await broughtIn()
    await makeAgain(topic)
    const again = runSource(source(8), options)
    await expect(again).rejects.toThrow(TopicReplacedError)
    await expect(again).rejects.toThrow(
      `source/test has brought in 3 of 8 steps, and ${topic} was deleted and made again since`,
    )
    expect(await recordsOf(log, topic)).toEqual([])
  })
}

test('a source that an earlier release ran continues, unless its topic is empty', async () => {
  const { log, options, makeAgain } = await broughtIn()
  const asBefore = async () => {
    const transaction = (await log.producer({ transactional_id: 'before' })).begin()
    transaction.standalonePositions('source/test', [{ topic: added.type, partition: 0, next: 3n }])
    await transaction.commit()
  }
  await asBefore()
  expect(await runSource(source(5), options)).toMatchObject({ done: 2, already: 3 })
  await asBefore()
  await makeAgain(added.type)
  await expect(runSource(source(5), options)).rejects.toThrow(TopicReplacedError)
})
