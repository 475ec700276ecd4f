import assert from 'node:assert/strict'
import { type Log, type Position, TopicReplacedError, UnknownTopicError } from '../port/log.ts'
import { digestOf } from '../port/seen.ts'
import type { ConformanceCase, LogHarness } from './harness.ts'
import { append, createTopic, Follower, fresh, numbered, readAll, rejectsWith, text, until, values } from './steps.ts'

const LONG_MS = 30_000

/** A topic that is deleted and recreated is another one, and positions name the topic that they were read in. */
export const REPLACING: readonly ConformanceCase[] = [
  {
    name: 'a topic has its own id, the same on every handle and after a restart; recreated, it has another',
    async run(harness) {
      const log = await harness.open()
      const [topic, other] = [await createTopic(log, 1), await createTopic(log, 1)]
      const id = await idOf(log, topic)
      assert(id !== '' && id !== (await idOf(log, other)))
      await append(log, topic, 0, numbered(3))
      await log.createTopics([{ name: topic, partitions: 1 }])
      assert.equal(await idOf(await harness.open(), topic), id)
      await log.close()
      const again = await harness.open()
      assert.equal(await idOf(again, topic), id)
      await makeAgain(harness, again, topic)
      assert.notEqual(await idOf(again, topic), id)
      assert.deepEqual(await values(again, topic, 0), [])
    },
  },
  {
    name: 'the positions of a poll name the topic and the last record read before them, also across gaps',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(5))
      await append(log, topic, 0, numbered(2, 's'))
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      const [end] = await log.endOffsets(topic)
      const at = () => follower.next.get(`${topic}/0`)
      await until([follower], () => at()?.next === end, 'the end as the next position')
      const last = (await readAll(log, topic, 0)).at(-1)
      assert(last !== undefined)
      assert.deepEqual(at()?.seen, {
        topic_id: await idOf(log, topic),
        last: { offset: last.offset, appended_ms: last.appended_ms, digest: digestOf(last) },
      })
    },
  },
  {
    name: 'positions are returned with what was read before them, of members, standalone ones and those of another log',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      await append(log, topic, 0, numbered(5))
      const [group, other] = [fresh('group'), fresh('group')]
      const follower = await Follower.join(log, group, [topic], LONG_MS)
      await until([follower], () => follower.records.length === 5, 'five records')
      await follower.commit(log, [0])
      assert.deepEqual(await log.committed(group), [...follower.next.values()])
      const last = { offset: 41n, appended_ms: 1_700_000_000_000, digest: 'abc-_123abc-_123' }
      const elsewhere: Position[] = [
        { topic, partition: 0, next: 42n, seen: { topic_id: 'elsewhere', last, state_in: 'one,two' } },
        { topic, partition: 1, next: 7n, seen: { topic_id: 'elsewhere' } },
      ]
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      transaction.standalonePositions(other, elsewhere)
      await transaction.commit()
      assert.deepEqual(await log.committed(other), elsewhere)
      await log.close()
      const again = await harness.open()
      assert.deepEqual(await again.committed(group), [...follower.next.values()])
      assert.deepEqual(await again.committed(other), elsewhere)
    },
  },
  {
    name: 'a position in a topic that was recreated since it was read is refused, and nothing of its transaction is written',
    async run(harness) {
      const log = await harness.open()
      const [topic, output] = [await createTopic(log, 1), await createTopic(log, 1)]
      const group = fresh('group')
      await append(log, topic, 0, numbered(3))
      const follower = await Follower.join(log, group, [topic], LONG_MS)
      await until([follower], () => follower.records.length === 3, 'three records')
      await makeAgain(harness, log, topic)
      await append(log, topic, 0, numbered(9, 'other'))
      await rejectsWith(TopicReplacedError, () => follower.commit(log, [0], { topic: output, value: 'never' }))
      assert.deepEqual(await values(log, output, 0), [])
      assert.deepEqual(await log.committed(group), [])
    },
  },
  {
    name: 'a poll tells a member that its topic was recreated, also when no records arrive',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(10))
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.records.length === 10, 'ten records')
      await makeAgain(harness, log, topic)
      await append(log, topic, 0, numbered(2, 'other'))
      const failure = await until([follower], () => false, 'an error').catch((error: unknown) => error)
      // The member may have checked while the topic did not exist.
      assert(failure instanceof TopicReplacedError || failure instanceof UnknownTopicError, String(failure))
      assert.deepEqual(follower.records.map(text), numbered(10))
    },
  },
  {
    name: 'a member that joins after a topic was recreated reads the new one, and its positions name it',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(3))
      await makeAgain(harness, log, topic)
      await append(log, topic, 0, numbered(4, 'other'))
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.records.length === 4, 'four records')
      await follower.commit(log, [0], { topic, value: 'after' })
      assert.deepEqual(await values(log, topic, 0), [...numbered(4, 'other'), 'after'])
      const [position] = await log.committed(follower.claim?.group ?? '')
      assert.equal(position?.seen?.topic_id, await idOf(log, topic))
    },
  },
]

async function idOf(log: Log, topic: string): Promise<string> {
  const found = (await log.topics()).find(({ name }) => name === topic)
  assert(found !== undefined, `no topic ${topic}`)
  return found.id
}

async function makeAgain(harness: LogHarness, log: Log, topic: string): Promise<void> {
  const { partitions } = (await log.topics()).find(({ name }) => name === topic) ?? { partitions: 1 }
  await harness.deleteTopic(topic)
  await log.createTopics([{ name: topic, partitions }])
}
