import { afterEach, beforeEach, expect, test } from 'vitest'
import { NEVER_ABORTED } from '../../infra/runtime/execute/reach.ts'
import { FeedLog, NO_METRICS, SUBSCRIPTION } from '../../testing/feed-log.ts'
import type { Leased } from './decide/lease.ts'
import type { OpenConsumer } from './open-consumer.ts'

/**
 * What users of other trainers met: prompts that a data loader's cursor had passed and no step had (NeMo-RL #3599, miles
 * #2254), one stale drop that keeps a loader's state where it is (TRL #7274), buffered rollouts that a resume leaves out
 * (OpenRLHF #1322), one straggler that wedges a step and then every resume (NeMo-RL #3238). That there is no bias to short
 * completions is proved by `tests/training/`.
 */

let log: FeedLog
let calls = 0
beforeEach(async () => {
  log = await FeedLog.create()
})
afterEach(() => log.close())

/** A run as its ranks see it. Its weights count how often they have learned from each group. */
class Run {
  readonly lab: OpenConsumer
  readonly epoch: number
  readonly learned: string[]
  #step: number
  #parent: string | null
  #since: number[] = []

  constructor(lab: OpenConsumer, epoch: number, step: number, parent: string | null, learned: readonly string[]) {
    this.lab = lab
    this.epoch = epoch
    this.#step = step
    this.#parent = parent
    this.learned = [...learned]
  }

  static async start(lab: OpenConsumer, world_size: number, from?: Saved): Promise<Run> {
    const resume = from?.checkpoint ?? null
    const attempt = `attempt ${calls++}`
    const { epoch, step } = await lab.startRun({ run: 'r1', attempt, world_size, resume, lineage: null })
    return new Run(lab, epoch, step, resume, from?.learned ?? [])
  }

  async lease(groups: number, rank = 0): Promise<Leased> {
    const wanted = { epoch: this.epoch, rank, request: `request ${calls++}`, groups, bytes: 2 ** 30 }
    return (await this.lab.lease(wanted, 0, NEVER_ABORTED)) ?? { lease: 0, groups: [] }
  }

  /** One step of a rank on these groups. */
  async step({ lease, groups }: Leased, rank = 0, step = this.#step + 1): Promise<void> {
    const caller = { epoch: this.epoch, rank, step }
    await this.lab.beginStep({ ...caller, groups: groups.map(({ sequence }) => ({ sequence, lease })) })
    await this.lab.applied({ ...caller, ...NO_METRICS })
    this.#step = step
    this.#since.push(...groups.map(({ sequence }) => sequence))
    this.learned.push(...groups.map(({ group_id }) => group_id))
  }

  async save(): Promise<Saved> {
    const checkpoint = `checkpoint ${calls++}`
    const wanted = { epoch: this.epoch, checkpoint, parent: this.#parent, step: this.#step, weights_sha256: 'w' }
    await this.lab.checkpoint({ ...wanted, groups: this.#since })
    this.#parent = checkpoint
    this.#since = []
    return { checkpoint, learned: [...this.learned] }
  }

  /** Trains on all that is left, a few groups a step, and saves. */
  async rest(): Promise<Saved> {
    for (let leased = await this.lease(3); leased.groups.length > 0; leased = await this.lease(3))
      await this.step(leased)
    return await this.save()
  }
}

interface Saved {
  readonly checkpoint: string
  readonly learned: readonly string[]
}

async function subscribed(wanted: Partial<typeof SUBSCRIPTION> = {}): Promise<OpenConsumer> {
  const lab = await log.feed().consumer('lab', 'open')
  await lab.subscribe({ ...SUBSCRIPTION, ...wanted }, 'beginning')
  return lab
}

const names = (count: number, but: readonly string[] = []) =>
  Array.from({ length: count }, (_, at) => `g${at}`).filter((name) => !but.includes(name))

test('a cursor ahead of training: what was read, numbered and leased when feed and trainer died is trained on, and nothing is passed over', async () => {
  await log.form(40)
  const feed = log.feed({ snapshot_events: 2 })
  const lab = await feed.consumer('lab', 'open')
  await lab.subscribe(SUBSCRIPTION, 'beginning')
  const run = await Run.start(lab, 2)
  await run.step(await run.lease(2))
  await run.step(await run.lease(2, 1), 1, 1)
  const saved = await run.save()
  // Far ahead of the checkpoint; rank 1 never asks for what was numbered for it on the way.
  await run.step(await run.lease(4))
  await run.lease(8)
  expect(lab.state.next_sequence).toBeGreaterThan(20)
  await feed.close()

  const again = await log.feed().consumer('lab')
  const rest = await (await Run.start(again, 1, saved)).rest()
  expect([...rest.learned].sort()).toEqual(names(40).sort())
  expect(again.state.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 40, dropped: 0, expired: 0 })
})

test('one stale drop does not pin the state: the groups after it are trained on, saved, and not given again by a resume', async () => {
  await log.form(2, { version: 0, lineage: 'lab/r1' })
  const lab = await subscribed({ max_staleness: 1 })
  const run = await Run.start(lab, 1)
  await log.publish('lab/r1', 5)
  await log.form(6, { from: 2, version: 5, lineage: 'lab/r1' })
  // Five are drawn: two are dropped, three are given.
  await run.step(await run.lease(5))
  const saved = await run.save()
  expect(lab.state.counts).toMatchObject({ durable: 3, dropped: 2 })
  // The first two are dropped once, whatever resumes, and hold nothing back.
  for (const _ of ['a resume', 'another one']) {
    const resumed = await Run.start(lab, 1, saved)
    expect((await resumed.lease(1)).groups.map(({ group_id }) => group_id)).toEqual(['g5'])
  }
  const rest = await (await Run.start(lab, 1, saved)).rest()
  expect([...rest.learned].sort()).toEqual(names(8, ['g0', 'g1']))
  expect(lab.state.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 6, dropped: 2, expired: 0 })
})

test('buffered groups are not skipped on resume: what a rank held and had not trained on comes first, in its order', async () => {
  await log.form(20)
  const lab = await subscribed()
  const run = await Run.start(lab, 1)
  await run.step(await run.lease(4))
  const saved = await run.save()
  const buffered = [await run.lease(5), await run.lease(5)].flatMap(({ groups }) => groups)
  const resumed = await Run.start(lab, 1, saved)
  const first = await resumed.lease(10)
  expect(first.groups.map(({ sequence }) => sequence)).toEqual(buffered.map(({ sequence }) => sequence))
  await resumed.step(first)
  const rest = await resumed.rest()
  expect([...rest.learned].sort()).toEqual(names(20).sort())
  expect(lab.state.counts.durable).toBe(20)
})

test('one straggler wedges no resume: the checkpoint says who is missing, and its groups are trained on without it, each time', async () => {
  await log.form(24)
  const lab = await subscribed()
  let saved: Saved | undefined
  for (const _ of ['the first start', 'a resume', 'another one']) {
    const run = await Run.start(lab, 2, saved)
    const step = (lab.state.run?.step ?? 0) + 1
    const straggling = await run.lease(2, 1)
    await run.step(await run.lease(2))
    await expect(run.save()).rejects.toMatchObject({ code: 'incomplete', details: { ranks: [{ step, rank: 1 }] } })
    // It is silent: its groups wait again, also without a resume.
    log.now_ms += 1_001
    await lab.heartbeat({ epoch: run.epoch, rank: 0 })
    await lab.expireLeases()
    expect(straggling.groups.map(({ sequence }) => lab.state.open.get(sequence)?.state)).toEqual(['waiting', 'waiting'])
    const alone = await Run.start(lab, 1, saved)
    const first = await alone.lease(4)
    expect(first.groups.map(({ group_id }) => group_id)).toEqual(
      expect.arrayContaining(straggling.groups.map(({ group_id }) => group_id)),
    )
    await alone.step(first)
    saved = await alone.save()
  }
  const rest = await (await Run.start(lab, 1, saved)).rest()
  expect([...rest.learned].sort()).toEqual(names(24).sort())
  expect(lab.state.counts.durable).toBe(24)
})
