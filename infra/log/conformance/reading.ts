import assert from 'node:assert/strict'
import { sizeOfAll } from '../port/consumer.ts'
import { OffsetGoneError, TopicMismatchError, UnknownTopicError } from '../port/log.ts'
import type { ConformanceCase } from './harness.ts'
import {
  append,
  createTopic,
  Follower,
  fresh,
  numbered,
  readAll,
  record,
  rejectsWith,
  text,
  until,
  values,
} from './steps.ts'

export const READING: readonly ConformanceCase[] = [
  {
    name: 'creating existing topics changes nothing; another partition count is refused, and then no topic is created',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 3)
      await append(log, topic, 0, ['kept'])
      await log.createTopics([{ name: topic, partitions: 3 }])
      assert.deepEqual(await values(log, topic, 0), ['kept'])
      const other = fresh('topic')
      await rejectsWith(TopicMismatchError, () =>
        log.createTopics([
          { name: other, partitions: 1 },
          { name: topic, partitions: 4 },
        ]),
      )
      const names = (await log.topics()).map((one) => one.name)
      assert(!names.includes(other))
      assert.deepEqual(names, [...names].sort())
    },
  },
  {
    name: 'topics that are asked for by name are those of them that exist, as among all topics',
    async run(harness) {
      const log = await harness.open()
      const [one, other] = [await createTopic(log, 1), await createTopic(log, 2)]
      const names = [fresh('unknown'), one, other, one]
      const all = await log.topics()
      assert.deepEqual(
        await log.topics(names),
        all.filter(({ name }) => names.includes(name)),
      )
      assert.deepEqual(await log.topics([fresh('unknown')]), [])
      assert.deepEqual(await log.topics([]), [])
    },
  },
  {
    name: 'an unknown topic or partition cannot be read',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const name = fresh('unknown')
      await rejectsWith(UnknownTopicError, () => log.endOffsets(name))
      await rejectsWith(UnknownTopicError, () => log.beginningOffsets(name))
      await rejectsWith(UnknownTopicError, () => log.read({ topic: name, partition: 0, from: 0n, max_bytes: 1 }))
      await rejectsWith(UnknownTopicError, () => log.read({ topic, partition: 1, from: 0n, max_bytes: 1 }))
    },
  },
  {
    name: 'pages of any size join without a lost, duplicated or reordered record, also across gaps',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const producer = await log.producer({ transactional_id: fresh('p') })
      const expected: string[] = []
      for (let i = 0; i < 12; i += 1) {
        const transaction = producer.begin()
        for (let k = 0; k < i; k += 1) {
          const value = `${i}.${k}:${'x'.repeat((i * 97 + k * 31) % 200)}`
          transaction.append(topic, 0, record(value))
          if (i % 3 !== 2) expected.push(value)
        }
        if (i % 3 === 2) await transaction.abort()
        else await transaction.commit()
      }
      for (const max_bytes of [1, 100, 333, 1000, 1e6]) {
        const found = (await readAll(log, topic, 0, undefined, max_bytes)).map(text)
        assert.deepEqual(found, expected, `with pages of ${max_bytes} bytes`)
      }
    },
  },
  {
    name: 'a read returns at most max_bytes, but at least one record',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, ['x'.repeat(5_000), ...Array.from({ length: 40 }, () => 'y'.repeat(1_000))])
      const one = await log.read({ topic, partition: 0, from: 0n, max_bytes: 100 })
      assert.equal(one.records.length, 1)
      const some = await log.read({ topic, partition: 0, from: one.next, max_bytes: 10_500 })
      assert(some.records.length >= 1 && some.records.length <= 10, `${some.records.length} records of 1,000 bytes`)
      for (const { records, bytes } of [one, some]) assert.equal(bytes, sizeOfAll(records))
    },
  },
  {
    name: 'a read can start at any offset, repeatedly',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(20))
      await append(log, topic, 0, numbered(20, 's'))
      const all = await readAll(log, topic, 0)
      for (const [i, one] of all.entries()) {
        const { records } = await log.read({ topic, partition: 0, from: one.offset, max_bytes: 1e6 })
        assert.deepEqual(records[0], one)
        assert.equal((await readAll(log, topic, 0, one.offset)).length, all.length - i)
      }
    },
  },
  {
    name: 'a read at or beyond the end returns nothing and keeps its offset; it sees later records',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(3))
      const end = (await log.endOffsets(topic))[0] as bigint
      assert.deepEqual(await log.read({ topic, partition: 0, from: end, max_bytes: 1e6 }), {
        records: [],
        bytes: 0,
        next: end,
      })
      await append(log, topic, 0, ['later'])
      assert.deepEqual((await readAll(log, topic, 0, end)).map(text), ['later'])
    },
  },
  {
    name: 'the end is an offset at which everything committed has been seen',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      assert.deepEqual(await log.endOffsets(topic), await log.beginningOffsets(topic))
      await append(log, topic, 1, numbered(7))
      const ends = await log.endOffsets(topic)
      const last = (await readAll(log, topic, 1)).at(-1)
      assert(last !== undefined && (ends[1] as bigint) > last.offset)
      assert.equal(ends[0], (await log.beginningOffsets(topic))[0])
    },
  },
  {
    name: 'deleted records are gone: the beginning moves, reading below it is refused, the rest stays',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      for (const name of ['a', 'b', 'c']) await append(log, topic, 0, numbered(10, name))
      await append(log, topic, 1, ['other'])
      const all = await readAll(log, topic, 0)
      const before = all[13]?.offset as bigint
      await log.deleteBefore(topic, 0, before)
      const begin = (await log.beginningOffsets(topic))[0] as bigint
      assert(begin >= before && begin <= (all[13]?.offset as bigint))
      assert.deepEqual((await readAll(log, topic, 0)).map(text), all.slice(13).map(text))
      await rejectsWith(OffsetGoneError, () => log.read({ topic, partition: 0, from: before - 1n, max_bytes: 1e6 }))
      assert.deepEqual(await values(log, topic, 1), ['other'])
      await log.deleteBefore(topic, 0, 0n)
      assert.equal((await log.beginningOffsets(topic))[0], begin)
    },
  },
  {
    name: 'deleting everything leaves an empty partition whose offsets continue',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(10))
      const last = (await readAll(log, topic, 0)).at(-1)?.offset as bigint
      await log.deleteBefore(topic, 0, (await log.endOffsets(topic))[0] as bigint)
      assert.deepEqual(await values(log, topic, 0), [])
      await append(log, topic, 0, ['next'])
      const [found] = await readAll(log, topic, 0)
      assert.equal(found && text(found), 'next')
      assert((found?.offset as bigint) > last)
    },
  },
  {
    name: 'a member whose position was deleted is told, and continues where it seeks to',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      await append(log, topic, 0, numbered(10))
      const follower = await Follower.join(log, group, [topic], 30_000)
      await until([follower], () => follower.owned.size === 1, 'the partition')
      const sixth = (await readAll(log, topic, 0))[6]?.offset as bigint
      await log.deleteBefore(topic, 0, sixth)
      await rejectsWith(OffsetGoneError, () => follower.poll(2_000))
      follower.member.seek([{ topic, partition: 0, next: sixth }])
      await until([follower], () => follower.records.length === 4, 'the rest')
      assert.deepEqual(follower.texts, numbered(10).slice(6))
    },
  },
  {
    name: 'lag is zero once everything was read and committed',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      await append(log, topic, 0, numbered(25))
      const follower = await Follower.join(log, group, [topic], 30_000)
      await until([follower], () => follower.records.length === 25, '25 records')
      const end = (await log.endOffsets(topic))[0] as bigint
      await until([follower], () => follower.next.get(`${topic}/0`)?.next === end, 'the end as the next position')
      await follower.commit(log, [0])
      assert.deepEqual(
        (await log.committed(group)).map(({ next }) => next),
        [end],
      )
    },
  },
]
