import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { NEVER_ABORTED } from '../../infra/runtime/execute/reach.ts'
import { groupsLeased } from '../../schemas/events/training.ts'
import { FeedLog, formed, NO_METRICS, SUBSCRIPTION } from '../../testing/feed-log.ts'
import { example } from '../../testing/test-driver.ts'
import { ConsumerState } from './consumer-state.ts'
import type { Leased } from './decide/lease.ts'
import type { Receipt } from './decide/step.ts'
import type { Wanted } from './decide/subscribe.ts'
import type { Feed } from './feed.ts'
import type { OpenConsumer } from './open-consumer.ts'
import type { FeedRefusal, RefusalCode } from './refusal.ts'

let log: FeedLog
let feed: Feed
let requests = 0

beforeEach(async () => {
  log = await FeedLog.create()
  feed = log.feed()
})
afterEach(() => log.close())

async function subscribed(
  wanted: Partial<Wanted> = {},
  from: 'beginning' | 'now' = 'beginning',
): Promise<OpenConsumer> {
  const lab = await feed.consumer('lab', 'open')
  await lab.subscribe({ ...SUBSCRIPTION, ...wanted }, from)
  return lab
}

/** A rank of a run, as a trainer sees it. */
class Rank {
  readonly lab: OpenConsumer
  readonly epoch: number
  readonly rank: number

  constructor(lab: OpenConsumer, epoch: number, rank = 0) {
    this.lab = lab
    this.epoch = epoch
    this.rank = rank
  }

  static async start(lab: OpenConsumer, options: { resume?: string; world_size?: number; run?: string } = {}) {
    const { resume = null, world_size = 1, run = 'r1' } = options
    const attempt = `attempt ${requests++}`
    const { epoch } = await lab.startRun({ run, attempt, world_size, resume, lineage: null })
    return new Rank(lab, epoch)
  }

  async lease(groups: number, request = `request ${requests++}`): Promise<Leased> {
    const { epoch, rank } = this
    const wanted = { epoch, rank, request, groups, bytes: 2 ** 30 }
    return (await this.lab.lease(wanted, 0, NEVER_ABORTED)) ?? { lease: 0, groups: [] }
  }

  begin(step: number, ...leases: readonly Leased[]): Promise<number> {
    const groups = leases.flatMap(({ lease, groups }) => groups.map(({ sequence }) => ({ sequence, lease })))
    return this.lab.beginStep({ epoch: this.epoch, rank: this.rank, step, groups })
  }

  applied(step: number, measured: Partial<Receipt> = {}): Promise<number> {
    return this.lab.applied({ epoch: this.epoch, rank: this.rank, step, ...NO_METRICS, ...measured })
  }

  /** Leases groups and takes a step on them. @returns their sequence numbers */
  async step(step: number, groups: number): Promise<number[]> {
    const leased = await this.lease(groups)
    await this.begin(step, leased)
    await this.applied(step)
    return sequences(leased)
  }

  save(step: number, groups: readonly number[], parent: string | null = null, checkpoint = `c${step}`) {
    const { epoch } = this
    return this.lab.checkpoint({ epoch, checkpoint, parent, step, weights_sha256: 'w', groups })
  }

  drop(...groups: number[]) {
    return this.lab.drop({ epoch: this.epoch, rank: this.rank, reason: 'by_consumer', detail: '', groups })
  }

  release(leased: Leased, ...groups: number[]) {
    const held = groups.map((sequence) => ({ sequence, lease: leased.lease }))
    return this.lab.release({ epoch: this.epoch, rank: this.rank }, held)
  }
}

/** A log in which a topic is empty. */
const without = (log: Log, topic: string): Log =>
  new Proxy(log, {
    get: (target, name) => {
      const found = Reflect.get(target, name) as unknown
      if (name === 'endOffsets') {
        return async (asked: string) => (await target.endOffsets(asked)).map((end) => (asked === topic ? 0n : end))
      }
      return typeof found === 'function' ? found.bind(target) : found
    },
  })

const sequences = ({ groups }: Leased) => groups.map(({ sequence }) => sequence)
const ids = ({ groups }: Leased) => groups.map(({ group_id }) => group_id)
const upTo = (count: number, name = 'g') => Array.from({ length: count }, (_, at) => `${name}${at}`)

async function refusalOf(call: Promise<unknown>): Promise<{ code: RefusalCode } & FeedRefusal['details']> {
  const error = await call.then(
    () => undefined,
    (error: unknown) => error as FeedRefusal,
  )
  return { code: error?.code as RefusalCode, ...error?.details }
}

describe('leases', () => {
  test('every group that matches is given out once, in the order of its time', async () => {
    await log.form(20)
    const r1 = await Rank.start(await subscribed())
    const first = await r1.lease(12)
    const second = await r1.lease(12)
    expect([...ids(first), ...ids(second)]).toEqual(upTo(20))
    expect(sequences(second)).toEqual([12, 13, 14, 15, 16, 17, 18, 19])
    expect(await r1.lease(1)).toMatchObject({ groups: [] })
  })

  test('groups for evaluation are not given to a trainer, unless it names their purpose', async () => {
    await log.form(2)
    await log.form(2, { from: 2, purpose: 'eval' })
    await log.form(2, { from: 4, purpose: 'probe' })
    const { purposes: _, ...unnamed } = SUBSCRIPTION.filter
    const trainer = await Rank.start(await subscribed({ filter: unnamed }))
    expect(ids(await trainer.lease(9))).toEqual(['g0', 'g1'])
    const other = await feed.consumer('other', 'open')
    await other.subscribe({ ...SUBSCRIPTION, filter: { ...unnamed, purposes: ['probe', 'eval'] } }, 'beginning')
    expect(ids(await (await Rank.start(other)).lease(9))).toEqual(['g2', 'g3', 'g4', 'g5'])
    expect(other.state.subscription?.filter.purposes).toEqual(['eval', 'probe'])
    // The same again, in another order, changes nothing; leaving them out names the default, which is another.
    await other.subscribe({ ...SUBSCRIPTION, filter: { ...unnamed, purposes: ['eval', 'probe'] } }, 'beginning')
    const again = other.subscribe({ ...SUBSCRIPTION, filter: unnamed }, 'beginning')
    expect(await refusalOf(again)).toMatchObject({ code: 'already_subscribed' })
  })

  test('a consumer that subscribed before there were purposes has groups of all, and may leave them out again', async () => {
    await log.form(1)
    await log.form(1, { from: 1, purpose: 'eval' })
    const { purposes: _, ...unnamed } = SUBSCRIPTION.filter
    const lab = await subscribed({ filter: { ...unnamed, purposes: null } })
    await lab.subscribe({ ...SUBSCRIPTION, filter: unnamed }, 'beginning')
    expect(ids(await (await Rank.start(lab)).lease(9))).toEqual(['g0', 'g1'])
  })

  test('groups that do not match the filter are not given out', async () => {
    await log.form(3)
    await log.form(3, { from: 3, task: 'x_y' })
    await log.form(2, { from: 6, rewards: [1, 1] })
    const filter = { ...SUBSCRIPTION.filter, task: 'x_only', with_variance: true }
    const r1 = await Rank.start(await subscribed({ filter }))
    expect(ids(await r1.lease(10))).toEqual(upTo(3))
  })

  test('a consumer that subscribes from now on gets later groups only', async () => {
    await log.form(3)
    const r1 = await Rank.start(await subscribed({}, 'now'))
    expect(ids(await r1.lease(10))).toEqual([])
    await log.form(2, { from: 3 })
    expect(ids(await r1.lease(10))).toEqual(['g3', 'g4'])
  })

  test('two consumers get every group each', async () => {
    await log.form(4)
    const lab = await Rank.start(await subscribed())
    const other = await feed.consumer('other', 'open')
    await other.subscribe(SUBSCRIPTION, 'beginning')
    const rank = await Rank.start(other)
    expect(ids(await lab.lease(4))).toEqual(upTo(4))
    expect(ids(await rank.lease(4))).toEqual(upTo(4))
  })

  test('a repeated request gets the same lease, and takes nothing more', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const lease = await r1.lease(2, 'once')
    const { number } = r1.lab.state
    expect(await r1.lease(2, 'once')).toMatchObject({
      lease: lease.lease,
      groups: lease.groups.map(({ sequence }) => ({ sequence })),
    })
    expect(r1.lab.state.number).toBe(number)
  })

  test('a lease ends at its bytes, with one group at least', async () => {
    await log.form(4)
    const { lab, epoch } = await Rank.start(await subscribed())
    const leased = await lab.lease({ epoch, rank: 0, request: 'x', groups: 4, bytes: 1 }, 0, NEVER_ABORTED)
    expect(leased?.groups).toHaveLength(1)
  })

  test('a lease that waits gets a group as soon as it is formed', async () => {
    const { lab, epoch } = await Rank.start(await subscribed())
    const waiting = lab.lease({ epoch, rank: 0, request: 'x', groups: 4, bytes: 2 ** 20 }, 10_000, NEVER_ABORTED)
    await log.form(1)
    expect((await waiting)?.groups).toMatchObject([{ group_id: 'g0' }])
  })

  test('rank r of W gets the numbers that are r modulo W, whoever asks first', async () => {
    await log.form(12)
    const one = await Rank.start(await subscribed(), { world_size: 3 })
    const ranks = [one, new Rank(one.lab, one.epoch, 1), new Rank(one.lab, one.epoch, 2)] as const
    expect(sequences(await ranks[2].lease(2))).toEqual([2, 5])
    expect(sequences(await ranks[0].lease(4))).toEqual([0, 3, 6, 9])
    expect(sequences(await ranks[1].lease(9))).toEqual([1, 4, 7, 10])
    expect(sequences(await ranks[2].lease(9))).toEqual([8, 11])
  })

  test('released groups wait again, under their numbers, and come first', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const first = await r1.lease(3)
    expect(await r1.release(first, 1, 2, 99)).toBe(2)
    const again = await r1.lease(3)
    expect(sequences(again)).toEqual([1, 2, 3])
    // A repetition that comes late.
    expect(await r1.release(first, 1, 2)).toBe(0)
  })

  test('a rank cannot lease without bound', async () => {
    const r1 = await Rank.start(await subscribed())
    expect(await refusalOf(r1.lease(4_097))).toMatchObject({ code: 'too_many_leased' })
  })

  test('a shuffled order is the same for the same seed, and stays within its windows', async () => {
    await log.form(40)
    const orders = await Promise.all(
      ['one', 'two', 'three'].map(async (name) => {
        const consumer = await feed.consumer(name, 'open')
        const order_seed = name === 'three' ? 'b' : 'a'
        await consumer.subscribe({ ...SUBSCRIPTION, order: 'shuffled', order_seed, order_window: 8 }, 'beginning')
        const rank = await Rank.start(consumer)
        // In leases of other sizes.
        const leases = name === 'one' ? [await rank.lease(40)] : [await rank.lease(3), await rank.lease(37)]
        return leases.flatMap(ids)
      }),
    )
    expect(orders[0]).toEqual(orders[1])
    expect(orders[2]).not.toEqual(orders[0])
    expect(orders[0]).not.toEqual(upTo(40))
    for (let window = 0; window < 40; window += 8) {
      expect(new Set(orders[0]?.slice(window, window + 8))).toEqual(new Set(upTo(40).slice(window, window + 8)))
    }
  })
})

describe('steps', () => {
  test('groups that no receipt is there for, and those of a checkpoint, are counted in exactly one state', async () => {
    await log.form(10)
    const r1 = await Rank.start(await subscribed())
    const one = await r1.step(1, 3)
    await r1.save(1, one)
    await r1.step(2, 2)
    const leased = await r1.lease(2)
    await r1.drop(leased.groups[0]?.sequence ?? 0)
    expect(r1.lab.state.counts).toEqual({ numbered: 0, leased: 1, applied: 2, durable: 3, dropped: 1, expired: 0 })
    expect(await r1.lab.behind()).toBe(3)
  })

  test('a begun step, its receipt, a drop and a checkpoint can each be repeated, and change nothing', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const leased = await r1.lease(2)
    await r1.begin(1, leased)
    expect(await r1.begin(1, leased)).toBe(2)
    await r1.applied(1)
    expect(await r1.applied(1)).toBe(2)
    await r1.save(1, sequences(leased))
    const { number } = r1.lab.state
    expect(await r1.save(1, sequences(leased))).toBe(2)
    expect(await r1.begin(1, leased)).toBe(2)
    expect(r1.lab.state.number).toBe(number)
    const others = await r1.lease(1)
    expect(await r1.drop(...sequences(others))).toBe(1)
    expect(await r1.drop(...sequences(others))).toBe(1)
  })

  test('steps come in order, and each has its receipt before the next', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const [one, two] = [await r1.lease(1), await r1.lease(1)]
    expect(await refusalOf(r1.begin(2, one))).toMatchObject({ code: 'out_of_order' })
    expect(await refusalOf(r1.applied(1))).toMatchObject({ code: 'not_begun' })
    await r1.begin(1, one)
    expect(await refusalOf(r1.begin(2, two))).toMatchObject({ code: 'out_of_order' })
    expect(await refusalOf(r1.drop(...sequences(one)))).toMatchObject({ code: 'used' })
    expect(await r1.release(one, ...sequences(one))).toBe(0)
  })

  test('a group that was never leased, or is durable or dropped, cannot be trained on', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const one = await r1.lease(1)
    expect(await refusalOf(r1.begin(1, { lease: 1, groups: [{ ...one.groups[0], sequence: 77 } as never] }))).toEqual({
      ...{ code: 'used', groups: [77] },
    })
    await r1.begin(1, one)
    await r1.applied(1)
    await r1.save(1, sequences(one))
    expect(await refusalOf(r1.begin(2, one))).toEqual({ code: 'used', groups: [0] })
    const two = await r1.lease(1)
    await r1.drop(1)
    expect(await refusalOf(r1.begin(2, two))).toEqual({ code: 'stale', groups: [1] })
  })

  test('a group may be used by several steps until a checkpoint contains it', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const one = await r1.lease(2)
    await r1.begin(1, one)
    await r1.applied(1)
    await r1.begin(2, one)
    expect(await refusalOf(r1.save(1, [0, 1]))).toEqual({ code: 'incomplete', later: [0, 1] })
    await r1.applied(2)
    expect(r1.lab.state.counts).toMatchObject({ applied: 2 })
    expect(await r1.save(2, [0, 1])).toBe(2)
  })
})

describe('a lease that ends', () => {
  test('by silence lets its groups wait again; a heartbeat keeps it', async () => {
    await log.form(4)
    const r1 = await Rank.start(await subscribed())
    await r1.lease(2)
    for (let beats = 0; beats < 3; beats++) {
      log.now_ms += 900
      expect(await r1.lab.heartbeat(r1)).toEqual([0, 1])
      await r1.lab.expireLeases()
    }
    log.now_ms += 1_001
    await r1.lab.expireLeases()
    expect(await r1.lab.heartbeat(r1)).toEqual([])
    expect(r1.lab.state.counts).toMatchObject({ leased: 0, numbered: 2 })
  })

  test('before its step begins refuses the step, with the groups', async () => {
    await log.form(4)
    const r1 = await Rank.start(await subscribed())
    const leased = await r1.lease(2)
    log.now_ms += 1_001
    await r1.lab.expireLeases()
    expect(await refusalOf(r1.begin(1, leased))).toEqual({ code: 'lease_lost', groups: [0, 1] })
    // Leased again, under another token: the old one stays worthless.
    const again = await r1.lease(2)
    expect(await refusalOf(r1.begin(1, leased))).toEqual({ code: 'lease_lost', groups: [0, 1] })
    expect(await r1.begin(1, again)).toBe(2)
  })

  test('within a step refuses its receipt and every checkpoint that contains it, until the run resumes', async () => {
    await log.form(8)
    const r1 = await Rank.start(await subscribed())
    const one = await r1.step(1, 2)
    await r1.save(1, one)
    await r1.begin(2, await r1.lease(2))
    log.now_ms += 1_001
    await r1.lab.expireLeases()
    expect(await refusalOf(r1.applied(2))).toEqual({ code: 'lease_lost', groups: [2, 3] })
    expect(await refusalOf(r1.save(2, [], 'c1'))).toMatchObject({ code: 'incomplete', broken_step: 2 })
    const resumed = await Rank.start(r1.lab, { resume: 'c1' })
    const two = await resumed.step(2, 2)
    expect(two).toEqual([2, 3])
    expect(await resumed.save(2, two, 'c1', 'c2 again')).toBe(2)
  })

  test('a restarted feed gives every open lease one full period', async () => {
    await log.form(4)
    const r1 = await Rank.start(await subscribed())
    await r1.lease(2)
    log.now_ms += 900
    await feed.close()
    const lab = await log.feed().consumer('lab')
    log.now_ms += 900
    await lab.expireLeases()
    expect(lab.state.counts).toMatchObject({ leased: 2 })
    log.now_ms += 200
    await lab.expireLeases()
    expect(lab.state.counts).toMatchObject({ leased: 0 })
  })
})

describe('a checkpoint', () => {
  test('names exactly the groups since its parent, or is refused with what is wrong', async () => {
    await log.form(8)
    const r1 = await Rank.start(await subscribed())
    await r1.step(1, 2)
    await r1.step(2, 2)
    expect(await refusalOf(r1.save(1, [0]))).toEqual({ code: 'incomplete', missing: [1] })
    expect(await refusalOf(r1.save(1, [0, 1, 2]))).toEqual({ code: 'incomplete', superfluous: [2] })
    expect(await r1.save(1, [0, 1])).toBe(2)
    expect(await refusalOf(r1.save(2, [2, 3], null, 'c2'))).toMatchObject({ code: 'incomplete' })
    expect(await r1.save(2, [2, 3], 'c1')).toBe(2)
    expect(await refusalOf(r1.save(2, [7], 'c2', 'c3'))).toEqual({ code: 'incomplete', superfluous: [7] })
  })

  test('waits for the receipts of all ranks', async () => {
    await log.form(8)
    const r0 = await Rank.start(await subscribed(), { world_size: 2 })
    const r1 = new Rank(r0.lab, r0.epoch, 1)
    await r0.step(1, 2)
    expect(await refusalOf(r0.save(1, [0, 2]))).toEqual({ code: 'incomplete', ranks: [{ step: 1, rank: 1 }] })
    await r1.step(1, 2)
    expect(await refusalOf(r0.save(1, [0, 2]))).toEqual({ code: 'incomplete', missing: [1, 3] })
    expect(await r0.save(1, [0, 1, 2, 3])).toBe(4)
  })
})

describe('a resumed run', () => {
  test('rolls back what was leased, applied or durable after the checkpoint, and gets it first, by number', async () => {
    await log.form(12)
    const r1 = await Rank.start(await subscribed())
    await r1.save(1, await r1.step(1, 2))
    await r1.save(2, await r1.step(2, 2), 'c1')
    await r1.step(3, 2)
    const leased = await r1.lease(3)
    await r1.drop(leased.groups[0]?.sequence ?? 0)
    const again = await Rank.start(r1.lab, { resume: 'c1' })
    expect(r1.lab.state.counts).toEqual({ numbered: 6, leased: 0, applied: 0, durable: 2, dropped: 1, expired: 0 })
    expect(sequences(await again.lease(8))).toEqual([2, 3, 4, 5, 7, 8, 9, 10])
    // The checkpoint that was rolled back is gone.
    expect(await refusalOf(Rank.start(r1.lab, { resume: 'c2' }))).toEqual({ code: 'not_resumable' })
    expect(await refusalOf(Rank.start(r1.lab, { resume: 'c9' }))).toEqual({ code: 'unknown_checkpoint' })
  })

  test('fences the epoch before: it neither leases nor reports', async () => {
    await log.form(12)
    const old = await Rank.start(await subscribed())
    const leased = await old.lease(2)
    await old.begin(1, leased)
    await Rank.start(old.lab, { run: 'r2' })
    for (const call of [
      old.lease(1),
      old.begin(1, leased),
      old.applied(1),
      old.save(1, [0, 1]),
      old.drop(0),
      old.release(leased, 0),
    ])
      expect(await refusalOf(call)).toEqual({ code: 'fenced' })
    await expect(old.lab.heartbeat(old)).rejects.toThrow(/epoch 2 of run r2 is the current one, got epoch 1/)
  })

  test('is one epoch for all ranks of an attempt, and an attempt is never used again', async () => {
    const lab = await subscribed()
    const start = { run: 'r1', attempt: 'a', world_size: 2, resume: null, lineage: null }
    expect((await lab.startRun(start)).epoch).toBe(1)
    expect((await lab.startRun(start)).epoch).toBe(1)
    expect(await refusalOf(lab.startRun({ ...start, world_size: 3 }))).toEqual({ code: 'invalid' })
    expect((await lab.startRun({ ...start, attempt: 'b' })).epoch).toBe(2)
    expect(await refusalOf(lab.startRun(start))).toEqual({ code: 'fenced' })
  })

  test('with checkpoints is resumed from one of them, and not started over', async () => {
    await log.form(4)
    const r1 = await Rank.start(await subscribed())
    await r1.save(1, await r1.step(1, 2))
    expect(await refusalOf(Rank.start(r1.lab))).toEqual({ code: 'run_exists' })
  })

  test('may have another number of ranks', async () => {
    await log.form(9)
    const r0 = await Rank.start(await subscribed(), { world_size: 2 })
    const r1 = new Rank(r0.lab, r0.epoch, 1)
    await r0.save(1, [...(await r0.step(1, 1)), ...(await r1.step(1, 1))])
    await r0.step(2, 2)
    const alone = await Rank.start(r0.lab, { resume: 'c1' })
    expect(sequences(await alone.lease(9))).toEqual([2, 3, 4, 5, 6, 7, 8])
  })
})

describe('staleness', () => {
  test('until the run has published a model every group is fresh, afterwards those without a version are dropped', async () => {
    await log.form(4)
    const r1 = await Rank.start(await subscribed())
    expect(ids(await r1.lease(2))).toEqual(['g0', 'g1'])
    await log.publish('lab/r1', 0)
    expect(ids(await r1.lease(2))).toEqual([])
    expect(r1.lab.state.counts).toMatchObject({ dropped: 2, leased: 2 })
  })

  test('groups without a version are taken on where the subscription says so', async () => {
    await log.form(4)
    const r1 = await Rank.start(await subscribed({ without_version: 'always' }))
    await log.publish('lab/r1', 0)
    expect(ids(await r1.lease(4))).toEqual(upTo(4))
  })

  test('groups that are too old or of another lineage are dropped at the lease', async () => {
    const lineage = 'lab/r1'
    const r1 = await Rank.start(await subscribed({ max_staleness: 2 }))
    await log.publish(lineage, 5)
    await log.form(1, { version: 2, lineage })
    await log.form(1, { from: 1, version: 3, lineage })
    await log.form(1, { from: 2, version: 5, lineage: 'other' })
    await log.form(1, { from: 3, version: 5, lineage })
    expect(ids(await r1.lease(4))).toEqual(['g1', 'g3'])
    expect(r1.lab.state.counts).toMatchObject({ dropped: 2 })
  })

  test('groups that became too old after the lease are dropped before the step, which is not begun', async () => {
    const lineage = 'lab/r1'
    const r1 = await Rank.start(await subscribed({ max_staleness: 1 }))
    await log.publish(lineage, 1)
    await log.form(2, { version: 1, lineage })
    await log.form(2, { from: 2, version: 2, lineage })
    const leased = await r1.lease(4)
    await log.publish(lineage, 3)
    expect(await refusalOf(r1.begin(1, leased))).toEqual({ code: 'stale', groups: [0, 1] })
    expect(await refusalOf(r1.begin(1, leased))).toEqual({ code: 'stale', groups: [0, 1] })
    expect(r1.lab.state.counts).toMatchObject({ leased: 2, dropped: 2 })
    const fresh = { ...leased, groups: leased.groups.slice(2) }
    expect(await r1.begin(1, fresh)).toBe(2)
  })

  test('a run that resumes from before a model that it published counts in a child lineage', async () => {
    await log.form(8, { version: 0, lineage: 'lab/r1' })
    const r1 = await Rank.start(await subscribed({ max_staleness: 1 }))
    await log.publish('lab/r1', 0)
    await r1.save(1, await r1.step(1, 2))
    await log.publish('lab/r1', 1)
    await log.form(1, { from: 8, version: 1, lineage: 'lab/r1' })
    const resumed = await Rank.start(r1.lab, { resume: 'c1' })
    expect(r1.lab.state.run?.lineage).toBe('lab/r1~2')
    // Version 1 of the parent is of weights that are gone; version 0 is an ancestor.
    expect(ids(await resumed.lease(9))).toEqual(['g2', 'g3', 'g4', 'g5', 'g6', 'g7'])
    expect(r1.lab.state.counts).toMatchObject({ dropped: 1 })
  })
})

describe('the feed', () => {
  test('goes on after a restart where it was, whatever it had been doing', async () => {
    await log.form(20)
    const r1 = await Rank.start(await subscribed())
    await r1.save(1, await r1.step(1, 3))
    await r1.step(2, 2)
    const leased = await r1.lease(4)
    await r1.drop(leased.groups[1]?.sequence ?? 0)
    const { counts, number } = r1.lab.state
    await feed.close()
    const lab = await log.feed().consumer('lab')
    expect(lab.state.counts).toEqual(counts)
    expect(lab.state.number).toBe(number)
    const rank = new Rank(lab, r1.epoch)
    expect(ids(await rank.lease(20))).toEqual(upTo(20).slice(9))
    const kept = { ...leased, groups: leased.groups.filter((_, at) => at !== 1) }
    expect(await rank.begin(3, kept)).toBe(3)
  })

  test('that is started later takes the consumer from the earlier one, which says so and does not take it back', async () => {
    await log.form(8)
    const r1 = await Rank.start(await subscribed())
    await r1.lease(2)
    const later = await log.feed().consumer('lab')
    await expect(r1.lease(2)).rejects.toThrow(/does the same work/)
    await expect(feed.consumer('lab')).rejects.toThrow(/does the same work/)
    expect(ids(await new Rank(later, r1.epoch).lease(2))).toEqual(['g2', 'g3'])
  })

  test('passes over what is no group, and tells so once', async () => {
    await log.append({ ...formed('foreign'), source: '/elsewhere' })
    await log.form(1)
    const r1 = await Rank.start(await subscribed())
    expect(ids(await r1.lease(4))).toEqual(['g0'])
    expect(log.reported).toEqual([
      expect.stringMatching(/rollout.group_formed partition \d offset 0 is no group .* got one of \/elsewhere/),
    ])
  })

  test('goes on past records in its topics that others wrote, or that are no events, and past a record that is there twice', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    const leased = await r1.lease(2)
    await feed.close()
    const [record] = (await log.records('training.groups_leased')) as [LogRecord]
    const headers = record.headers.map((header) =>
      header.name === 'ce_source' ? { ...header, value: '/elsewhere' } : header,
    )
    const rubbish = { ...record, value: Buffer.from('rubbish') }
    await log.appendRecords('training.groups_leased', record, rubbish, { ...record, headers })
    const lab = await log.feed().consumer('lab')
    const again = new Rank(lab, r1.epoch)
    expect(await again.begin(1, leased)).toBe(2)
    expect(ids(await again.lease(9))).toEqual(['g2', 'g3', 'g4', 'g5'])
  })

  test('refuses a consumer of whose events one is missing, and says which', async () => {
    await log.form(6)
    const r1 = await Rank.start(await subscribed())
    await r1.lease(2)
    await r1.lease(2)
    await feed.close()
    const broken = log.feed({ log: without(log.log, 'training.groups_leased'), visible_ms: 0 })
    await expect(broken.consumer('lab')).rejects.toThrow(/consumer lab: expected 4 training events in memory:, found 2/)
  })

  test('refuses a consumer that nobody subscribed, another subscription, and one that has retired', async () => {
    expect(await refusalOf(feed.consumer('lab'))).toEqual({ code: 'unknown_consumer' })
    await log.form(4)
    const r1 = await Rank.start(await subscribed())
    await subscribed()
    expect(await refusalOf(subscribed({ max_staleness: 3 }))).toEqual({ code: 'already_subscribed' })
    await r1.step(1, 1)
    await r1.lease(1)
    await r1.lab.retire('done')
    await r1.lab.retire('done')
    expect(r1.lab.state.counts).toEqual({ numbered: 2, leased: 0, applied: 0, durable: 0, dropped: 0, expired: 0 })
    expect(await refusalOf(r1.lease(1))).toEqual({ code: 'retired' })
    expect(await refusalOf(subscribed())).toEqual({ code: 'retired' })
  })
})

test('a consumer that subscribed over Kafka is listed, refused, and not opened, which would fence its trainer', async () => {
  const lab = await subscribed({ transport: 'kafka' })
  const other = log.feed()
  expect(await other.names()).toEqual(['lab'])
  for (const unknown of ['refuse', 'open'] as const) {
    await expect(other.consumer('lab', unknown)).rejects.toMatchObject({
      code: 'other_transport',
      message: /^consumer lab: subscribed over Kafka, got a call over HTTP; /,
    } satisfies { code: RefusalCode; message: RegExp })
  }
  await lab.startRun({ run: 'r1', attempt: 'a', world_size: 1, resume: null, lineage: null })
  expect(lab.state.run?.epoch).toBe(1)
})

test('groups that are numbered out of their order are drawn, each in its own partition', () => {
  const state = new ConsumerState('lab')
  const row = (sequence: number, partition: number, offset: number) => ({
    ...{ consumer: 'lab', number: state.number + 1, run: 'r1', epoch: 1, rank: 0, lease: null, request: '' },
    ...{ sequence, topic_id: '', partition, offset, group_id: `g${sequence}`, bytes: 1 },
    ...{ policy_version_oldest: null, lineage: null },
  })
  const lease = (...rows: ReturnType<typeof row>[]) => state.apply(example(groupsLeased, rows))
  lease(row(40, 0, 10))
  lease(row(9, 1, 2))
  expect([...state.drawn]).toEqual([
    [0, 11],
    [1, 3],
  ])
  expect(state.next_sequence).toBe(41)
})
