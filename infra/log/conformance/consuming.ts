import assert from 'node:assert/strict'
import { TopicMismatchError, UnknownTopicError } from '../port/log.ts'
import type { ConformanceCase } from './harness.ts'
import { append, createTopic, Follower, fresh, numbered, record, rejectsWith, text, until, values } from './steps.ts'

const LONG_MS = 30_000

/** Reading as the only member of a group. */
export const CONSUMING: readonly ConformanceCase[] = [
  {
    name: 'a lone member gets every partition, is told before the first record, and reads in order from the beginning',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 3)
      for (const p of [0, 1, 2]) await append(log, topic, p, numbered(10, `p${p}.`))
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.records.length >= 30, '30 records')
      assert.deepEqual(follower.held, [0, 1, 2])
      for (const p of [0, 1, 2]) {
        const own = follower.records.filter((one) => one.partition === p).map(text)
        assert.deepEqual(own, numbered(10, `p${p}.`))
      }
      assert.deepEqual(await follower.poll(), [])
    },
  },
  {
    name: 'a poll waits for the first record, returns it soon after its commit, and returns empty after wait_ms',
    async run(harness) {
      const [log, other] = [await harness.open(), await harness.open()]
      const topic = await createTopic(log, 1)
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.owned.size === 1, 'the partition')
      const start_ms = performance.now()
      const waiting = follower.poll(60_000)
      await append(other, topic, 0, ['news'])
      assert.deepEqual((await waiting).map(text), ['news'])
      assert(performance.now() - start_ms < 30_000)
      assert.deepEqual(await follower.poll(30), [])
    },
  },
  {
    name: 'a poll returns at most max_bytes, and loses or duplicates nothing at the edges',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const sizes = numbered(60).map((value, i) => `${value}:${'x'.repeat((i * 53) % 400)}`)
      for (const p of [0, 1]) await append(log, topic, p, sizes)
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      const start_ms = performance.now()
      while (follower.records.length < 120 && performance.now() - start_ms < 20_000) {
        const records = await follower.poll(20, 900)
        const bytes = records.reduce((sum, one) => sum + (one.value?.byteLength ?? 0), 0)
        assert(bytes <= 900 || records.length === 1, `${bytes} bytes in ${records.length} records`)
      }
      for (const p of [0, 1]) {
        assert.deepEqual(follower.records.filter((one) => one.partition === p).map(text), sizes)
      }
    },
  },
  {
    name: 'every partition gets its turn while all have more than a poll returns',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 4)
      for (const p of [0, 1, 2, 3])
        await append(
          log,
          topic,
          p,
          numbered(50).map((value) => value.padEnd(1_000)),
        )
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.owned.size === 4, 'the partitions')
      for (let i = 0; i < 12; i += 1) await follower.poll(2_000, 2_500)
      assert.equal(new Set(follower.records.map((one) => one.partition)).size, 4)
    },
  },
  {
    name: 'a group resumes at its committed position',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      await append(log, topic, 0, numbered(10))
      const first = await Follower.join(log, group, [topic], LONG_MS)
      await until([first], () => first.records.length === 10, 'ten records')
      const sixth = first.records[6]?.offset as bigint
      first.next.set(`${topic}/0`, { topic, partition: 0, next: sixth })
      await first.commit(log, [0])
      await first.member.leave()
      const second = await Follower.join(log, group, [topic], LONG_MS)
      await until([second], () => second.records.length >= 4, 'the rest')
      assert.deepEqual(second.texts, numbered(10).slice(6))
    },
  },
  {
    name: 'what was read and not committed is read again by the next member',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      await append(log, topic, 0, numbered(5))
      const first = await Follower.join(log, group, [topic], LONG_MS)
      await until([first], () => first.records.length === 5, 'five records')
      await first.member.leave()
      const second = await Follower.join(log, group, [topic], LONG_MS)
      await until([second], () => second.records.length >= 5, 'five records again')
      assert.deepEqual(second.texts, numbered(5))
      assert.deepEqual(await log.committed(group), [])
    },
  },
  {
    name: 'a member seeks back and forth within what it owns',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(10))
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.records.length === 10, 'ten records')
      follower.member.seek([{ topic, partition: 0, next: follower.records[3]?.offset as bigint }])
      await until([follower], () => follower.records.length >= 17, 'seven records again')
      assert.deepEqual(follower.texts.slice(10), numbered(10).slice(3))
    },
  },
  {
    name: 'a seek between the gain and the next poll decides where the partition starts',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      await append(log, topic, 0, numbered(10))
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.owned.size === 1, 'the partition')
      const { records } = await log.read({ topic, partition: 0, from: 0n, max_bytes: 1e6 })
      follower.member.seek([{ topic, partition: 0, next: records[8]?.offset as bigint }])
      await until([follower], () => follower.records.length >= 2, 'two records')
      assert.deepEqual(follower.texts, ['r8', 'r9'])
    },
  },
  {
    name: 'a paused partition delivers nothing, keeps its position, and continues when resumed',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.owned.size === 2, 'the partitions')
      follower.member.pause([0])
      for (const p of [0, 1]) await append(log, topic, p, numbered(5, `p${p}.`))
      await until([follower], () => follower.records.length >= 5, 'the other partition')
      await follower.poll(100)
      assert.deepEqual(follower.texts, numbered(5, 'p1.'))
      follower.member.resume([0])
      await until([follower], () => follower.records.length >= 10, 'the paused partition')
      assert.deepEqual(follower.texts.slice(5), numbered(5, 'p0.'))
    },
  },
  {
    name: 'a paused topic of a partition waits, however old its records are, and its other topics are delivered',
    async run(harness) {
      const log = await harness.open()
      const [waiting, topic] = [await createTopic(log, 2), await createTopic(log, 2)]
      const follower = await Follower.join(log, fresh('group'), [waiting, topic], LONG_MS)
      await until([follower], () => follower.owned.size === 2, 'the partitions')
      follower.member.pause([0], [waiting])
      for (const p of [0, 1]) await append(log, waiting, p, numbered(3, `waiting${p}.`))
      for (const p of [0, 1]) await append(log, topic, p, numbered(3, `other${p}.`))
      await until([follower], () => follower.records.length >= 9, 'all but the paused ones')
      await follower.poll(100)
      assert.deepEqual(
        follower.texts.toSorted(),
        [...numbered(3, 'other0.'), ...numbered(3, 'other1.'), ...numbered(3, 'waiting1.')].toSorted(),
      )
      follower.member.resume([0])
      await until([follower], () => follower.records.length >= 12, 'the paused topic')
      assert.deepEqual(follower.texts.slice(9), numbered(3, 'waiting0.'))
    },
  },
  {
    name: 'positions and outputs of a claim commit together, or not at all',
    async run(harness) {
      const log = await harness.open()
      const [topic, output] = [await createTopic(log, 1), await createTopic(log, 1)]
      const group = fresh('group')
      await append(log, topic, 0, numbered(3))
      const follower = await Follower.join(log, group, [topic], LONG_MS)
      await until([follower], () => follower.records.length === 3, 'three records')
      const producer = await log.producer({ transactional_id: fresh('p') })
      const aborted = producer.begin()
      assert(follower.claim !== undefined)
      aborted.append(output, 0, record('never'))
      aborted.positions(follower.claim, [...follower.next.values()])
      await aborted.abort()
      assert.deepEqual(await log.committed(group), [])
      await follower.commit(log, [0], { topic: output, value: 'once' })
      assert.deepEqual(await values(log, output, 0), ['once'])
      assert.deepEqual(await log.committed(group), [...follower.next.values()])
    },
  },
  {
    name: 'a claim covers what was owned at its poll and nothing else',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const follower = await Follower.join(log, fresh('group'), [topic], LONG_MS)
      await until([follower], () => follower.owned.size === 2, 'the partitions')
      assert.deepEqual([...(follower.claim?.partitions ?? [])].sort(), [0, 1])
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      const claim = follower.claim
      assert.throws(() => claim && transaction.positions(claim, [{ topic, partition: 2, next: 0n }]))
      await transaction.abort()
    },
  },
  {
    name: 'two groups read the same records independently',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      for (const p of [0, 1]) await append(log, topic, p, numbered(10))
      const [one, two] = [fresh('group'), fresh('group')]
      const a = await Follower.join(log, one, [topic], LONG_MS)
      const b = await Follower.join(log, two, [topic], LONG_MS)
      await until([a, b], () => a.records.length >= 20 && b.records.length >= 20, '20 records each')
      await a.commit(log, [0, 1])
      assert.equal((await log.committed(one)).length, 2)
      assert.deepEqual(await log.committed(two), [])
    },
  },
  {
    name: 'a group without members commits positions; with live members that is refused and changes nothing',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      const producer = await log.producer({ transactional_id: fresh('p') })
      const commit = async (next: bigint) => {
        const transaction = producer.begin()
        transaction.append(topic, 0, record(`${next}`))
        transaction.standalonePositions(group, [{ topic, partition: 0, next }])
        await transaction.commit()
      }
      await commit(4n)
      const follower = await Follower.join(log, group, [topic], LONG_MS)
      await until([follower], () => follower.owned.size === 1, 'the partition')
      await assert.rejects(commit(7n))
      assert.deepEqual(await log.committed(group), [{ topic, partition: 0, next: 4n }])
      assert.deepEqual(await values(log, topic, 0), ['4'])
      await follower.member.leave()
    },
  },
  {
    name: 'a group of topics with different partition counts, or of an unknown one, is refused',
    async run(harness) {
      const log = await harness.open()
      const [two, three] = [await createTopic(log, 2), await createTopic(log, 3)]
      const join = (topics: string[]) => log.join({ group: fresh('group'), topics, session_timeout_ms: LONG_MS })
      await rejectsWith(TopicMismatchError, () => join([two, three]))
      await rejectsWith(UnknownTopicError, () => join([two, fresh('unknown')]))
    },
  },
]
