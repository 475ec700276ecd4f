import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Log, ReadRequest } from '../../infra/log/port/log.ts'
import { NEVER_ABORTED } from '../../infra/runtime/execute/reach.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { groupsDropped, offsetsExpired } from '../../schemas/events/training.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import { changed, FEED_EVENTS, FeedLog, formed, NO_METRICS, SUBSCRIPTION } from '../../testing/feed-log.ts'
import { type Leased, missing } from './decide/lease.ts'
import type { RunWanted } from './decide/run.ts'
import type { Feed } from './feed.ts'
import type { OpenConsumer } from './open-consumer.ts'
import type { FeedRefusal } from './refusal.ts'

/** What a hostile reader of the feed found, and outages. */

let log: FeedLog
let calls = 0
beforeEach(async () => {
  log = await FeedLog.create()
})
afterEach(() => log.close())

const away = () => Object.assign(new Error('away'), { retry: 'later' })

async function subscribed(feed: Feed, wanted: Partial<typeof SUBSCRIPTION> = {}): Promise<OpenConsumer> {
  const lab = await feed.consumer('lab', 'open')
  await lab.subscribe({ ...SUBSCRIPTION, ...wanted }, 'beginning')
  return lab
}

async function start(lab: OpenConsumer, wanted: Partial<RunWanted> = {}) {
  const attempt = `attempt ${calls++}`
  return await lab.startRun({ run: 'r1', attempt, world_size: 1, resume: null, lineage: null, ...wanted })
}

async function lease(lab: OpenConsumer, epoch: number, groups: number, rank = 0): Promise<Leased> {
  const wanted = { epoch, rank, request: `request ${calls++}`, groups, bytes: 2 ** 30 }
  return (await lab.lease(wanted, 0, NEVER_ABORTED)) ?? { lease: 0, groups: [] }
}

const held = ({ lease, groups }: Leased) => groups.map(({ sequence }) => ({ sequence, lease }))
const ids = ({ groups }: Leased) => groups.map(({ group_id }) => group_id)

/** Starts or resumes, takes a step on one group, and saves it. */
async function saved(lab: OpenConsumer, checkpoint: string, wanted: Partial<RunWanted> = {}) {
  const run = await start(lab, wanted)
  const { epoch, step: before } = run
  const leased = await lease(lab, epoch, 1)
  const step = before + 1
  await lab.beginStep({ epoch, rank: 0, step, groups: held(leased) })
  await lab.applied({ epoch, rank: 0, step, ...NO_METRICS })
  const groups = leased.groups.map(({ sequence }) => sequence)
  const parent = wanted.resume ?? null
  await lab.checkpoint({ epoch, checkpoint, parent, step, weights_sha256: 'w', groups })
  return run
}

test('a partition that cannot be read for a moment makes no group come twice', async () => {
  await log.form(30)
  let fails = true
  const read = async (request: ReadRequest) => {
    if (request.topic !== groupFormed.type) return await log.log.read(request)
    const failing = fails
    if (failing && request.partition === 0) throw away()
    const found = await log.log.read(request)
    await pause(failing ? 30 : 60)
    return found
  }
  const lab = await subscribed(log.feed({ log: changed(log.log, { read }) }))
  const { epoch } = await start(lab)
  const wanted = { epoch, rank: 0, request: 'one', groups: 100, bytes: 2 ** 30 }
  await expect(lab.lease(wanted, 0, NEVER_ABORTED)).rejects.toThrow('away')
  fails = false
  const leased = await lab.lease(wanted, 0, NEVER_ABORTED)
  expect(leased?.groups).toHaveLength(30)
  expect(new Set(ids(leased as Leased)).size).toBe(30)
})

test('groups that retention removed before they were leased are passed over, and told', async () => {
  await log.form(12)
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab)
  const [end = 0n] = await log.log.endOffsets(groupFormed.type)
  await log.log.deleteBefore(groupFormed.type, 0, end)
  const left = (await log.records(groupFormed.type)).map(({ key }) => key)
  expect(ids(await lease(lab, epoch, 12)).sort()).toEqual(left.sort())
  expect(log.reported).toEqual([expect.stringMatching(/partition 0: retention has removed offsets 0 to \d+ before/)])
})

test('groups that retention removed unread are expired, which is recorded once and found by every later feed', async () => {
  await log.form(12)
  const feed = log.feed()
  const lab = await subscribed(feed)
  const { epoch } = await start(lab)
  const [first = 0n, second = 0n] = await log.log.endOffsets(groupFormed.type)
  // One partition is gone as a whole, the other but for its last group.
  await log.log.deleteBefore(groupFormed.type, 0, first)
  await log.log.deleteBefore(groupFormed.type, 1, second - 1n)
  const left = (await log.records(groupFormed.type)).length
  await lease(lab, epoch, 12)
  const { leased, expired } = lab.standing.counts
  expect(leased).toBe(left)
  // An upper bound: what ends a transaction has an offset too.
  expect(expired).toBe(Number(first + second - 1n))
  expect(await lab.behind()).toBe(0)
  await feed.close()
  const again = log.feed()
  const reopened = await again.consumer('lab')
  expect(reopened.standing.counts.expired).toBe(expired)
  await log.form(3, { from: 12 })
  const { epoch: next } = await start(reopened)
  expect((await lease(reopened, next, 20)).groups).toHaveLength(left + 3)
  expect(reopened.standing.counts.expired).toBe(expired)
  const events = await log.records(offsetsExpired.type)
  expect(events).toHaveLength(2)
  expect(log.reported).toHaveLength(2)
})

test('offsets that are gone are recorded only when the groups before them have been given out', async () => {
  await log.form(12)
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab)
  // All are read, and one is given.
  await lease(lab, epoch, 1)
  await log.form(12, { from: 12 })
  const ends = await log.log.endOffsets(groupFormed.type)
  for (const [partition, end] of ends.entries()) await log.log.deleteBefore(groupFormed.type, partition, end)
  await log.form(1, { from: 24 })
  // So few bytes that a lease has one group, though more are looked for.
  const next = async () => {
    const wanted = { epoch, rank: 0, request: `small ${calls++}`, groups: 30, bytes: 1 }
    return (await lab.lease(wanted, 0, NEVER_ABORTED))?.groups.length ?? 0
  }
  expect([await next(), lab.standing.counts.expired]).toEqual([1, 0])
  for (let given = 1; given > 0; ) given = await next()
  // The 12 groups, and the ends of their transactions.
  expect(lab.standing.counts).toMatchObject({ leased: 13, dropped: 0, expired: 15 })
})

test('a checkpoint that is resumed after retention gives out what is there, and drops the rest as expired', async () => {
  await log.form(9)
  const feed = log.feed()
  const lab = await subscribed(feed)
  await saved(lab, 'c1')
  await saved(lab, 'c2', { resume: 'c1' })
  const rolled_back = lab.state.checkpoints.at(-1)?.groups[0]
  const { partition = 0, offset = 0 } = rolled_back ?? {}
  await log.log.deleteBefore(groupFormed.type, partition, BigInt(offset + 1))
  // It has no group in memory.
  await feed.close()
  const later = log.feed()
  const again = await later.consumer('lab')
  const { epoch } = await start(again, { resume: 'c1' })
  const wanted = { epoch, rank: 0, request: 'all', groups: 9, bytes: 2 ** 30 }
  const answer = await later.lease(again, wanted, 0, NEVER_ABORTED)
  answer?.sent()
  expect(again.standing.counts).toMatchObject({ dropped: 1, numbered: 0, durable: 1 })
  const [row] = (await log.records(groupsDropped.type)).map(
    (record) => decodeEvent(record, catalogueOf(FEED_EVENTS)).data,
  )
  expect(row).toMatchObject([{ reason: 'expired_unread', group_id: rolled_back?.group_id }])
  expect(log.reported).toContainEqual(expect.stringMatching(/lab: 1 groups that waited are not in the log any more/))
})

test('a numbered group whose record is gone is dropped when it is read, and the others are given', async () => {
  await log.form(6)
  const feed = log.feed()
  const lab = await subscribed(feed)
  const { epoch } = await start(lab)
  const leased = await lease(lab, epoch, 6)
  await lab.release({ epoch, rank: 0 }, held(leased))
  await feed.close()
  const again = log.feed()
  const consumer = await again.consumer('lab')
  const [first] = leased.groups
  await log.log.deleteBefore(groupFormed.type, first?.partition ?? 0, BigInt(first?.offset ?? 0) + 1n)
  const wanted = { epoch, rank: 0, request: 'all', groups: 6, bytes: 2 ** 30 }
  const answer = await again.lease(consumer, wanted, 0, NEVER_ABORTED)
  answer?.sent()
  expect(answer?.pieces.length).toBe(5 + 2)
  expect(consumer.state.counts).toMatchObject({ leased: 5, dropped: 1 })
})

test('a missing blob holds its own partition up, and its group comes when the blob is back', async () => {
  await log.form(6)
  const tokens = Array.from({ length: 40_000 }, (_, at) => at)
  const wide = formed('wide', { time: '2026-01-02T00:00:00.000Z' })
  const large = { ...wide, data: wide.data.map((row) => ({ ...row, token_ids: tokens })) }
  await log.append(large)
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab)
  expect((await lease(lab, epoch, 9)).groups).toHaveLength(6)
  expect(log.reported).toEqual([expect.stringMatching(/holds its partition up until it can be read/)])
  for (const { bytes, ref } of encodeEvent(groupFormed, large).blobs) await log.blobs.put(bytes, ref.media_type)
  expect(ids(await lease(lab, epoch, 9))).toEqual(['wide'])
})

test('a run with checkpoints never starts over, though another run has saved many since', async () => {
  await log.form(12)
  const lab = await subscribed(log.feed(), { keep_checkpoints: 1 })
  await saved(lab, 'c1')
  await saved(lab, 'd1', { run: 'r2' })
  await saved(lab, 'd2', { run: 'r2', resume: 'd1' })
  await expect(start(lab)).rejects.toMatchObject({ code: 'run_exists' })
  expect(await start(lab, { resume: 'c1' })).toMatchObject({ step: 1, checkpoint: 'c1' })
})

test('a lease that may not wait is answered while others commit without end', async () => {
  await log.form(8)
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab, { world_size: 2 })
  await lease(lab, epoch, 4, 1)
  let is_over = false
  const busy = async () => {
    while (!is_over) {
      const leased = await lease(lab, epoch, 1)
      await lab.release({ epoch, rank: 0 }, held(leased))
    }
  }
  const others = [busy(), busy(), busy()]
  expect((await lease(lab, epoch, 1, 1)).groups).toEqual([])
  is_over = true
  await Promise.all(others)
})

test('a later feed takes a consumer whose earlier feed commits without end, however long it reads', async () => {
  await log.form(8)
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab)
  let is_over = false
  const busy = (async () => {
    while (!is_over) {
      await lab.release({ epoch, rank: 0 }, held(await lease(lab, epoch, 1)))
      await pause(5)
    }
  })().catch((error: unknown) => error as Error)
  const read = async (request: ReadRequest) => {
    if (request.topic.startsWith('training.')) await pause(50)
    return await log.log.read(request)
  }
  const later = await log.feed({ log: changed(log.log, { read }) }).consumer('lab')
  expect(await busy).toMatchObject({ name: 'RivalError' })
  is_over = true
  expect((await lease(later, epoch, 1)).groups).toHaveLength(1)
})

test('an earlier feed whose commit fails for another reason does not take the consumer back', async () => {
  await log.form(8)
  let fails = false
  const producer: Log['producer'] = async (options) => {
    const made = await log.log.producer(options)
    const begin = () => {
      if (fails) throw away()
      return made.begin()
    }
    return { begin, close: () => made.close() }
  }
  // Without snapshots, which would find the rival out.
  const first = log.feed({ log: changed(log.log, { producer }), snapshot_events: Number.POSITIVE_INFINITY })
  const lab = await subscribed(first)
  const { epoch } = await start(lab)
  const later = await log.feed().consumer('lab')
  await lease(later, epoch, 1)
  fails = true
  await expect(lease(lab, epoch, 1)).rejects.toThrow('away')
  fails = false
  await expect(first.consumer('lab')).rejects.toThrow(/another feed does the same work/)
  expect((await lease(later, epoch, 1)).groups).toHaveLength(1)
})

test('a feed that another has fenced refuses no call of the current epoch, whatever it does not know', async () => {
  await log.form(8)
  const first = await subscribed(log.feed())
  const before = await start(first)
  const later = await log.feed().consumer('lab')
  const { epoch } = await start(later)
  const has = await lease(later, epoch, 1)
  // By the first feed's state the epoch is none: it must find out that it is late before it says so.
  await expect(lease(first, epoch, 1)).rejects.toMatchObject({ name: 'RivalError' })
  // So must one whose first call is a heartbeat.
  const third = await log.feed().consumer('lab')
  const { epoch: last } = await start(third)
  await expect(later.heartbeat({ epoch: last, rank: 0 })).rejects.toMatchObject({ name: 'RivalError' })
  // The one that has the consumer refuses as before.
  for (const { epoch: earlier } of [before, { epoch }]) {
    await expect(third.heartbeat({ epoch: earlier, rank: 0 })).rejects.toMatchObject({ code: 'fenced' })
  }
  expect(ids(await lease(third, last, 1))).toEqual(ids(has))
})

test('the names of lineages do not grow with every resume', async () => {
  await log.form(12)
  const lab = await subscribed(log.feed())
  let resume: string | null = null
  const lineages: string[] = []
  for (let at = 0; at < 5; at++) {
    const { lineage } = await saved(lab, `c${at}`, { resume })
    lineages.push(lineage)
    resume = `c${at}`
    await log.publish(lineage, at)
  }
  expect(lineages).toEqual(['lab/r1', 'lab/r1~2', 'lab/r1~3', 'lab/r1~4', 'lab/r1~5'])
})

test('groups of a model that a resume has undone are dropped, though the run has published nothing since', async () => {
  await log.form(1)
  const lab = await subscribed(log.feed(), { max_staleness: 0 })
  await saved(lab, 'c1')
  await log.publish('lab/r1', 9)
  await log.form(2, { from: 1, version: 9, lineage: 'lab/r1' })
  const { epoch } = await start(lab, { resume: 'c1' })
  expect(ids(await lease(lab, epoch, 2))).toEqual([])
  expect(lab.state.counts).toMatchObject({ dropped: 2 })
})

test('a run goes on from what was published in its lineage before it began', async () => {
  await log.publish('lab/r1', 0)
  await log.form(3, { version: 0, lineage: 'lab/r1' })
  const lab = await subscribed(log.feed())
  const { epoch, lineage } = await start(lab)
  expect(lineage).toBe('lab/r1')
  await log.publish('lab/r1', 1)
  expect(ids(await lease(lab, epoch, 3))).toHaveLength(3)
})

test('a rank that a stopped feed could not hear keeps its groups', async () => {
  await log.form(2)
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab)
  await lease(lab, epoch, 2)
  log.now_ms += 5_000
  await lab.expireLeases(4_500)
  expect(lab.state.counts).toMatchObject({ leased: 2 })
  log.now_ms += 1_001
  await lab.expireLeases()
  expect(lab.state.counts).toMatchObject({ leased: 0 })
})

test('the bytes of a group count its blobs, and what is read ahead for many ranks is bounded', async () => {
  const wide = formed('wide')
  const tokens = Array.from({ length: 40_000 }, (_, at) => at)
  await log.appendLarge({ ...wide, data: wide.data.map((row) => ({ ...row, token_ids: tokens })) })
  const lab = await subscribed(log.feed())
  const { epoch } = await start(lab, { world_size: 65_536 })
  expect((await lease(lab, epoch, 1)).groups[0]?.bytes).toBeGreaterThan(2 * 40_000 * 4)
  const wanted = { epoch, rank: 1, request: 'x', groups: 4_096, bytes: 1 }
  expect(missing(lab.state, wanted)).toBeLessThanOrEqual(65_536 + 4_096)
})

test('a call that is not the last one of its epoch says so, whatever it names', async () => {
  const lab = await subscribed(log.feed())
  await start(lab)
  const refusal = await lab
    .drop({ epoch: 7, rank: 0, reason: 'by_consumer', detail: '', groups: [] })
    .catch((error) => error as FeedRefusal)
  expect(refusal).toMatchObject({ code: 'fenced' })
})
