import { expect, test } from 'vitest'
import { random } from '../../environments/tower/random.ts'
import { NEVER_ABORTED } from '../../infra/runtime/execute/reach.ts'
import { FeedLog, NO_METRICS, SUBSCRIPTION } from '../../testing/feed-log.ts'
import { reopened, withoutSnapshots } from '../../testing/feed-snapshots.ts'
import type { Feed } from './feed.ts'
import type { OpenConsumer } from './open-consumer.ts'
import type { NumberedGroup } from './open-groups.ts'
import { FeedRefusal } from './refusal.ts'

/** Histories of trainers that stop, go silent, resume and repeat calls, of feeds that restart, and of groups that come. */

const ACTIONS = 150
/** So many that each history is restored from some. */
const SNAPSHOTS = { snapshot_events: 12 }
const SEEDS = Array.from({ length: 12 }, (_, seed) => String(seed))

/** What a trainer has in its checkpoint: how often each group is inside its weights. */
type Weights = ReadonlyMap<string, number>

/** In a rank's memory. */
interface Trainer {
  lease: number
  groups: NumberedGroup[]
  step: number
}

class History {
  readonly #random: ReturnType<typeof random>
  readonly #log: FeedLog
  #feed: Feed
  #lab: OpenConsumer
  #formed = 0
  #attempts = 0
  #epoch = 0
  #world = 1
  #saved: { readonly checkpoint: string; readonly step: number; readonly weights: Weights } | undefined
  #parent: string | null = null
  #ranks: Trainer[] = []
  #weights = new Map<string, number>()
  readonly dropped = new Set<string>()
  /** How often the feed was restarted from one. */
  snapshots = 0

  constructor(seed: string, log: FeedLog, feed: Feed, lab: OpenConsumer) {
    this.#random = random('feed histories', seed)
    this.#log = log
    this.#feed = feed
    this.#lab = lab
  }

  static async create(seed: string): Promise<History> {
    const log = await FeedLog.create()
    const feed = log.feed(SNAPSHOTS)
    const lab = await feed.consumer('lab', 'open')
    await lab.subscribe({ ...SUBSCRIPTION, keep_checkpoints: 2 }, 'beginning')
    const made = new History(seed, log, feed, lab)
    await made.#form()
    await made.#start()
    return made
  }

  async act(): Promise<void> {
    const actions = [
      [3, () => this.#form()],
      [14, () => this.#train()],
      [4, () => this.#save()],
      [2, () => this.#drop()],
      [2, () => this.#release()],
      [1, () => this.#silence()],
      [1, () => this.#start()],
      [1, () => this.#restartFeed()],
    ] as const
    let at = this.#random.uniform() * actions.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, action] of actions) {
      at -= weight
      if (at >= 0) continue
      await action()
      break
    }
    await this.expectIdentity()
  }

  /** Every numbered group is in exactly one state, and the others are behind. */
  async expectIdentity(): Promise<void> {
    const { counts, next_sequence } = this.#lab.state
    const { numbered, leased, applied, durable, dropped } = counts
    expect(numbered + leased + applied + durable + dropped).toBe(next_sequence)
    expect(next_sequence + (await this.#lab.behind())).toBeGreaterThanOrEqual(this.#formed)
    expect(dropped).toBe(this.dropped.size)
  }

  /** Trains on everything that is left. @returns what is in the weights */
  async finish(): Promise<Weights> {
    // A step that lost its lease is in no checkpoint: the trainer resumes.
    await this.#start()
    for (let idle = 0; idle < 2; ) {
      const before = this.#lab.state.number
      for (const _ of this.#ranks) await this.#train()
      await this.#save()
      idle = this.#lab.state.number === before ? idle + 1 : 0
    }
    for (let rank = 0; rank < this.#world; rank++) await this.#trainOn(rank, 1_000)
    await this.#save('must')
    await this.#restartFeed()
    await this.expectIdentity()
    return this.#saved?.weights ?? new Map()
  }

  get formed(): readonly string[] {
    return Array.from({ length: this.#formed }, (_, at) => `g${at}`)
  }

  get counts() {
    return this.#lab.state.counts
  }

  close(): Promise<void> {
    return this.#log.close()
  }

  #below(limit: number): number {
    return Math.floor(this.#random.uniform() * limit)
  }

  async #form(): Promise<void> {
    const count = 1 + this.#below(12)
    await this.#log.form(count, { from: this.#formed })
    this.#formed += count
  }

  async #start(): Promise<void> {
    this.#world = 1 + this.#below(3)
    const attempt = `attempt ${this.#attempts++}`
    const resume = this.#saved?.checkpoint ?? null
    const wanted = { run: 'r1', attempt, world_size: this.#world, resume, lineage: null }
    const { epoch, step } = await this.#lab.startRun(wanted)
    expect((await this.#lab.startRun(wanted)).epoch).toBe(epoch)
    this.#epoch = epoch
    this.#parent = resume
    this.#weights = new Map(this.#saved?.weights)
    this.#ranks = Array.from({ length: this.#world }, () => ({ lease: 0, groups: [], step }))
  }

  async #train(): Promise<void> {
    await this.#trainOn(this.#below(this.#world), 1 + this.#below(4))
  }

  async #trainOn(rank: number, groups: number): Promise<void> {
    const trainer = this.#ranks[rank] as Trainer
    const caller = { epoch: this.#epoch, rank }
    if (trainer.groups.length === 0) {
      const wanted = { ...caller, request: `request ${this.#attempts++}`, groups, bytes: 2 ** 20 }
      const leased = await this.#lab.lease(wanted, 0, NEVER_ABORTED)
      if (leased === undefined) return
      trainer.lease = leased.lease
      trainer.groups = [...leased.groups]
    }
    const step = trainer.step + 1
    const begun = trainer.groups.map(({ sequence }) => ({ sequence, lease: trainer.lease }))
    try {
      await this.#lab.beginStep({ ...caller, step, groups: begun })
      // The answer may have been lost.
      if (this.#below(4) === 0) await this.#lab.beginStep({ ...caller, step, groups: begun })
      if (this.#below(20) === 0) await this.#pass(1_001)
      for (const { group_id } of trainer.groups) this.#weights.set(group_id, (this.#weights.get(group_id) ?? 0) + 1)
      trainer.groups = []
      trainer.step = step
      await this.#lab.applied({ ...caller, step, ...NO_METRICS })
      if (this.#below(4) === 0) await this.#lab.applied({ ...caller, step, ...NO_METRICS })
    } catch (error) {
      if (!(error instanceof FeedRefusal) || error.code !== 'lease_lost') throw error
      // Before the step the groups are given up; after it the weights are.
      if (trainer.step === step) await this.#start()
      trainer.groups = []
    }
  }

  async #save(must: 'may' | 'must' = 'may'): Promise<void> {
    const steps = this.#ranks.map(({ step }) => step)
    const step = Math.max(...steps)
    const named = [...this.#lab.state.open.values()].filter(({ state }) => state === 'applied')
    const checkpoint = `checkpoint ${this.#attempts++}`
    const groups = named.map(({ sequence }) => sequence)
    if (groups.length === 0) return
    // Ranks that have fewer groups catch up by no steps here: only equal ones can be saved together.
    if (steps.some((one) => one !== step)) {
      const wanted = { epoch: this.#epoch, checkpoint, parent: this.#parent, step, weights_sha256: 'w', groups }
      await expect(this.#lab.checkpoint(wanted)).rejects.toMatchObject({ code: 'incomplete' })
      if (must === 'must') await this.#alone()
      return
    }
    const wanted = { epoch: this.#epoch, checkpoint, parent: this.#parent, step, weights_sha256: 'w', groups }
    if (this.#below(3) === 0) {
      const wrong = { ...wanted, groups: groups.slice(1) }
      await expect(this.#lab.checkpoint(wrong)).rejects.toMatchObject({ code: 'incomplete' })
    }
    expect(await this.#lab.checkpoint(wanted)).toBe(groups.length)
    expect(await this.#lab.checkpoint(wanted)).toBe(groups.length)
    this.#saved = { checkpoint, step, weights: new Map(this.#weights) }
    this.#parent = checkpoint
  }

  /** Ranks with unequal steps never meet at a checkpoint: one trainer takes it all from the last one. */
  async #alone(): Promise<void> {
    do await this.#start()
    while (this.#world > 1)
    await this.#trainOn(0, 1_000)
    await this.#save('must')
  }

  async #drop(): Promise<void> {
    const rank = this.#below(this.#world)
    const trainer = this.#ranks[rank] as Trainer
    const caller = { epoch: this.#epoch, rank }
    const wanted = { ...caller, request: `request ${this.#attempts++}`, groups: 1, bytes: 2 ** 20 }
    if (trainer.groups.length > 0) return
    const leased = await this.#lab.lease(wanted, 0, NEVER_ABORTED)
    if (leased === undefined) return
    const groups = leased.groups.map(({ sequence }) => sequence)
    await this.#lab.drop({ ...caller, reason: 'by_consumer', detail: '', groups })
    for (const { group_id } of leased.groups) this.dropped.add(group_id)
  }

  async #release(): Promise<void> {
    for (const [rank, trainer] of this.#ranks.entries()) {
      const groups = trainer.groups.map(({ sequence }) => ({ sequence, lease: trainer.lease }))
      await this.#lab.release({ epoch: this.#epoch, rank }, groups)
      trainer.groups = []
    }
  }

  async #silence(): Promise<void> {
    await this.#pass(1_001)
  }

  async #pass(ms: number): Promise<void> {
    this.#log.now_ms += ms
    await this.#lab.expireLeases()
  }

  async #restartFeed(): Promise<void> {
    const before = this.#lab.state.stored()
    await this.#feed.close()
    const from_snapshot = await reopened(this.#log)
    if (from_snapshot.snapshot !== undefined) this.snapshots++
    expect(from_snapshot.state.stored()).toEqual(before)
    expect((await reopened(this.#log, withoutSnapshots)).state.stored()).toEqual(before)
    this.#feed = this.#log.feed(SNAPSHOTS)
    this.#lab = await this.#feed.consumer('lab')
    expect(this.#lab.state.stored()).toEqual(before)
  }
}

test.each(SEEDS)(
  'after any history every formed group is inside the weights once, or dropped, and the counts close at every moment (seed %s)',
  async (seed) => {
    const history = await History.create(seed)
    try {
      for (let acts = 0; acts < ACTIONS; acts++) await history.act()
      const weights = await history.finish()
      const expected = history.formed.filter((group) => !history.dropped.has(group))
      expect([...weights].sort()).toEqual(expected.map((group) => [group, 1] as const).sort())
      expect(history.counts).toMatchObject({ durable: expected.length, numbered: 0, leased: 0, applied: 0 })
      expect(history.snapshots).toBeGreaterThan(0)
    } finally {
      await history.close()
    }
  },
)
