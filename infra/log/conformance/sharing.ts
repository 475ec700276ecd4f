import assert from 'node:assert/strict'
import { FencedError } from '../port/log.ts'
import type { ConformanceCase } from './harness.ts'
import {
  append,
  createTopic,
  Follower,
  fresh,
  numbered,
  record,
  rejectsWith,
  text,
  until,
  untilBalanced,
  values,
} from './steps.ts'

const LONG_MS = 30_000

/** Several members in one group: ownership, fencing, takeover. */
export const SHARING: readonly ConformanceCase[] = [
  {
    name: 'from one to three members and back, every partition has exactly one owner and shares are even',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 8)
      const group = fresh('group')
      const join = async () => await Follower.join(await harness.open(), group, [topic], LONG_MS)
      const a = await join()
      await untilBalanced([a], 8)
      const b = await join()
      await untilBalanced([a, b], 8)
      const c = await join()
      await untilBalanced([a, b, c], 8)
      await b.member.leave()
      await untilBalanced([a, c], 8)
      await a.member.leave()
      await untilBalanced([c], 8)
    },
  },
  {
    name: 'a rebalance moves no more partitions than it must',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 12)
      const group = fresh('group')
      const a = await Follower.join(log, group, [topic], LONG_MS)
      await untilBalanced([a], 12)
      const b = await Follower.join(await harness.open(), group, [topic], LONG_MS)
      await untilBalanced([a, b], 12)
      assert.deepEqual([a.gains.length, a.losses.length, b.gains.length], [12, 6, 6])
      const c = await Follower.join(await harness.open(), group, [topic], LONG_MS)
      await untilBalanced([a, b, c], 12)
      assert.deepEqual([a.losses.length, b.losses.length, c.gains.length], [8, 2, 4])
      await c.member.leave()
      await untilBalanced([a, b], 12)
      assert.deepEqual([a.losses.length, b.losses.length, a.gains.length + b.gains.length], [8, 2, 22])
    },
  },
  {
    name: 'partition p of every topic of the group has the same owner',
    async run(harness) {
      const log = await harness.open()
      const [x, y] = [await createTopic(log, 4), await createTopic(log, 4)]
      const group = fresh('group')
      const a = await Follower.join(log, group, [x, y], LONG_MS)
      const b = await Follower.join(await harness.open(), group, [x, y], LONG_MS)
      await untilBalanced([a, b], 4)
      for (const topic of [x, y]) for (const p of [0, 1, 2, 3]) await append(log, topic, p, [`${topic} ${p}`])
      await until([a, b], () => a.records.length + b.records.length >= 8, 'eight records')
      for (const follower of [a, b]) {
        for (const topic of [x, y]) {
          const read = follower.records.filter((one) => one.topic === topic).map((one) => one.partition)
          assert.deepEqual(read.sort(), follower.held)
        }
      }
    },
  },
  {
    name: 'a partition that changes its owner resumes at the committed position',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const group = fresh('group')
      for (const p of [0, 1]) await append(log, topic, p, numbered(10))
      const a = await Follower.join(log, group, [topic], LONG_MS)
      await until([a], () => a.records.length === 20, '20 records')
      for (const p of [0, 1]) {
        const fourth = a.records.filter((one) => one.partition === p)[4]?.offset as bigint
        a.next.set(`${topic}/${p}`, { topic, partition: p, next: fourth })
      }
      await a.commit(log, [0, 1])
      const b = await Follower.join(await harness.open(), group, [topic], LONG_MS)
      await until([a, b], () => b.records.length >= 6, 'the rest of one partition')
      assert.deepEqual(b.texts, numbered(10).slice(4))
    },
  },
  {
    name: 'an owner that lost a partition cannot commit it, and its transaction changes nothing',
    async run(harness) {
      const log = await harness.open()
      const [topic, output] = [await createTopic(log, 2), await createTopic(log, 1)]
      const group = fresh('group')
      for (const p of [0, 1]) await append(log, topic, p, numbered(3))
      const a = await Follower.join(log, group, [topic], LONG_MS)
      await until([a], () => a.records.length === 6, 'six records')
      const stale = a.claim
      const b = await Follower.join(await harness.open(), group, [topic], LONG_MS)
      await untilBalanced([a, b], 2)
      a.claim = stale
      const lost = b.held
      await rejectsWith(FencedError, () => a.commit(log, lost, { topic: output, value: 'zombie' }))
      await rejectsWith(FencedError, () => a.commit(log, [0, 1], { topic: output, value: 'zombie' }))
      assert.deepEqual(await values(log, output, 0), [])
      assert.deepEqual(await log.committed(group), [])
    },
  },
  {
    name: 'ownership is compared with the poll: a partition lost and regained in between is fenced, and reported as both',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      await append(log, topic, 0, numbered(3))
      const a = await Follower.join(await harness.openSilent(), group, [topic], harness.session_timeout_ms)
      await until([a], () => a.records.length === 3, 'three records')
      const [stale, next] = [a.claim, [...a.next.values()]]
      await harness.elapse(harness.session_timeout_ms * 1.5)
      const b = await Follower.join(await harness.open(), group, [topic], harness.session_timeout_ms)
      await until([b], () => b.owned.size === 1, 'the takeover')
      await b.member.leave()
      await until([a], () => a.losses.length === 1 && a.gains.length === 2, 'both reports')
      const producer = await log.producer({ transactional_id: fresh('p') })
      const transaction = producer.begin()
      assert(stale !== undefined)
      transaction.positions(stale, next)
      await rejectsWith(FencedError, () => transaction.commit())
      assert.deepEqual(await log.committed(group), [])
      await a.commit(log, [0])
    },
  },
  {
    name: 'a member that does not poll learns which of its partitions another member has, and only of those',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const group = fresh('group')
      for (const p of [0, 1]) await append(log, topic, p, numbered(3))
      const a = await Follower.join(log, group, [topic], harness.session_timeout_ms)
      await until([a], () => a.records.length === 6, 'six records')
      const signals = [0, 1].map((p) => a.member.ownership(p))
      assert(signals.every(({ aborted }) => !aborted))
      const b = await Follower.join(await harness.open(), group, [topic], harness.session_timeout_ms)
      await until([b], () => b.owned.size === 1 && signals.some(({ aborted }) => aborted), 'the takeover')
      const [taken] = b.held as [number]
      assert.deepEqual(
        signals.map(({ aborted }) => aborted),
        [taken === 0, taken === 1],
      )
      assert(signals[taken]?.reason instanceof FencedError)
      await a.commit(log, [1 - taken])
      await rejectsWith(FencedError, () => a.commit(log, [taken]))
      await untilBalanced([a, b], 2)
      assert.deepEqual(
        [a.member.ownership(1 - taken) === signals[1 - taken], a.member.ownership(taken).aborted],
        [true, true],
      )
      await b.member.leave()
      await untilBalanced([a], 2)
      assert.deepEqual([a.member.ownership(taken).aborted, signals[taken]?.aborted], [false, true])
      await a.member.leave()
      assert([0, 1].every((p) => a.member.ownership(p).aborted))
    },
  },
  {
    name: 'a member that was silent learns at its next poll at the latest that its partitions were taken over',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      const a = await Follower.join(await harness.openSilent(), group, [topic], harness.session_timeout_ms)
      await until([a], () => a.owned.size === 1, 'the partition')
      const signal = a.member.ownership(0)
      await harness.elapse(harness.session_timeout_ms * 1.5)
      const b = await Follower.join(log, group, [topic], harness.session_timeout_ms)
      await until([b], () => b.owned.size === 1, 'the takeover')
      await b.member.leave()
      await until([a], () => a.losses.length === 1 && a.gains.length === 2, 'both reports')
      assert.deepEqual([signal.aborted, a.member.ownership(0).aborted], [true, false])
    },
  },
  {
    name: 'a member that leaves hands its partitions over at once',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 4)
      const group = fresh('group')
      const a = await Follower.join(log, group, [topic], 600_000)
      const b = await Follower.join(await harness.open(), group, [topic], 600_000)
      await untilBalanced([a, b], 4)
      await a.member.leave()
      await untilBalanced([b], 4)
      await assert.rejects(a.poll())
    },
  },
  {
    name: 'closing a handle lets its members leave and aborts what is open',
    async run(harness) {
      const [log, other] = [await harness.open(), await harness.open()]
      const topic = await createTopic(log, 2)
      const group = fresh('group')
      const a = await Follower.join(other, group, [topic], 600_000)
      await untilBalanced([a], 2)
      const producer = await other.producer({ transactional_id: fresh('p') })
      producer.begin().append(topic, 0, record('never'))
      await other.close()
      const b = await Follower.join(log, group, [topic], 600_000)
      await untilBalanced([b], 2)
      assert.deepEqual(await values(log, topic, 0), [])
    },
  },
  {
    name: 'a silent member loses its partitions after its session, and is fenced when it returns',
    async run(harness) {
      const log = await harness.open()
      const [topic, output] = [await createTopic(log, 2), await createTopic(log, 1)]
      const group = fresh('group')
      for (const p of [0, 1]) await append(log, topic, p, numbered(3))
      const a = await Follower.join(await harness.openSilent(), group, [topic], harness.session_timeout_ms)
      await until([a], () => a.records.length === 6, 'six records')
      await harness.elapse(harness.session_timeout_ms * 1.5)
      const b = await Follower.join(await harness.open(), group, [topic], harness.session_timeout_ms)
      await until([b], () => b.owned.size === 2 && b.records.length === 6, 'the takeover')
      await rejectsWith(FencedError, () => a.commit(log, [0, 1], { topic: output, value: 'zombie' }))
      assert.deepEqual(await values(log, output, 0), [])
      await b.commit(log, [0, 1], { topic: output, value: 'alive' })
      await untilBalanced([a, b], 2)
      assert.equal(a.losses.length, 2)
      assert.deepEqual(await values(log, output, 0), ['alive'])
    },
  },
  {
    name: 'a live member keeps its partitions for longer than a session, also without polling',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 2)
      const group = fresh('group')
      const a = await Follower.join(log, group, [topic], harness.session_timeout_ms)
      const b = await Follower.join(await harness.open(), group, [topic], harness.session_timeout_ms)
      await untilBalanced([a, b], 2)
      const before = a.losses.length
      for (let i = 0; i < 6; i += 1) {
        await harness.elapse(harness.session_timeout_ms / 3)
        await b.poll()
      }
      await a.poll()
      assert.deepEqual([a.losses.length - before, a.held.length, b.held.length], [0, 1, 1])
    },
  },
  {
    name: 'an owner whose lease has ended continues until another member takes over',
    async run(harness) {
      const log = await harness.open()
      const topic = await createTopic(log, 1)
      const group = fresh('group')
      await append(log, topic, 0, numbered(3))
      const a = await Follower.join(await harness.openSilent(), group, [topic], harness.session_timeout_ms)
      await until([a], () => a.records.length === 3, 'three records')
      await harness.elapse(harness.session_timeout_ms * 1.5)
      await a.commit(log, [0])
      assert.deepEqual(await log.committed(group), [...a.next.values()])
      await append(log, topic, 0, ['more'])
      await until([a], () => a.records.length === 4, 'the next record')
      assert.deepEqual(a.losses, [])
    },
  },
  {
    name: 'through joins, leaves and takeovers, every input has exactly one output and every position is committed',
    async run(harness) {
      const log = await harness.open()
      const [topic, output] = [await createTopic(log, 4), await createTopic(log, 1)]
      const group = fresh('group')
      for (const p of [0, 1, 2, 3]) await append(log, topic, p, numbered(40, `p${p}.`))
      // A worker copies until it is fenced or has done its rounds; another one then processes its uncommitted records.
      const work = async (rounds: number) => {
        const handle = await harness.open()
        const member = await handle.join({ group, topics: [topic], session_timeout_ms: LONG_MS })
        const producer = await handle.producer({ transactional_id: fresh('worker') })
        let fenced = false
        for (let round = 0; round < rounds && !fenced; round += 1) {
          const { records, claim, positions } = await member.poll({ max_bytes: 40, wait_ms: 10 })
          const transaction = producer.begin()
          for (const one of records) transaction.append(output, 0, record(text(one)))
          transaction.positions(claim, positions)
          await transaction.commit().catch((error: unknown) => {
            if (!(error instanceof FencedError)) throw error
            fenced = true
          })
        }
        await member.leave()
      }
      const all = [0, 1, 2, 3].flatMap((p) => numbered(40, `p${p}.`)).sort()
      const start_ms = performance.now()
      let working: Promise<void>[] = []
      for (let worker = 0; (await values(log, output, 0)).length < all.length; worker += 1) {
        assert(performance.now() - start_ms < 60_000, 'expected all outputs within 60 s')
        working.push(work(8 + (worker % 9) * 7))
        if (worker % 3 !== 2) continue
        await Promise.all(working)
        working = []
      }
      await Promise.all(working)
      assert.deepEqual((await values(log, output, 0)).sort(), all)
    },
  },
]
