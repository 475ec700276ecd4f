import type { Random } from '../../../environments/tower/random.ts'
import { NEVER_ABORTED } from '../../../infra/runtime/execute/reach.ts'
import { sleep } from '../../../infra/sleep.ts'
import type { RunState } from '../../../sinks/feed/consumer-parts.ts'
import type { Held } from '../../../sinks/feed/decide/lease.ts'
import { FeedRefusal } from '../../../sinks/feed/refusal.ts'
import { NO_METRICS } from '../../../testing/feed-log.ts'
import { pick } from '../../../testing/pick.ts'
import type { Actor } from '../actor.ts'
import type { Book } from './book.ts'
import { RUN, type TrainingInputs } from './inputs.ts'
import type { Call, Network } from './network.ts'

/** Why an attempt ends: all groups have their fate, or the next one must go on from the last checkpoint. */
export type AttemptEnd = 'done' | 'restart'

/** What the trainer does wrong, in a planted bug. */
export type TrainerBug = 'other weights'

export interface TrainerHost {
  readonly inputs: TrainingInputs
  readonly book: Book
  readonly network: Network
  readonly random: Random
  readonly bug: TrainerBug | undefined
  /** No more groups will be formed. */
  readonly isOver: () => boolean
  readonly breaks: (what: string) => void
  readonly publish: (lineage: string, step: number) => Promise<void>
  readonly lastOf: (lineage: string) => number | undefined
}

interface HeldGroup extends Held {
  readonly group_id: string
}

class AttemptOver extends Error {}

/** One start of the trainer: what its ranks share. */
export class Attempt {
  readonly name: string
  readonly world_size: number
  readonly ranks: Rank[] = []
  /** By round, what each rank gave. */
  readonly rounds = new Map<number, Map<number, unknown>>()
  has_ended = false

  constructor(name: string, world_size: number) {
    this.name = name
    this.world_size = world_size
  }
}

/** A process of a trainer. Its weights count how often it has learned from each group. */
export class Rank implements Actor {
  readonly name: string
  readonly is_worker = false
  readonly pace = 1
  state: Actor['state'] = 'running'
  readonly #host: TrainerHost
  readonly #attempt: Attempt
  readonly #rank: number
  #run: RunState | undefined
  #weights = new Map<string, number>()
  #step = 0
  #parent: string | null = null
  #held: HeldGroup[] = []
  #applied: number[] = []
  #round = 0
  #calls = 0

  constructor(host: TrainerHost, attempt: Attempt, rank: number) {
    this.name = `${attempt.name} rank ${rank}`
    this.#host = host
    this.#attempt = attempt
    this.#rank = rank
  }

  /** Trains until there is nothing left, or until it must start again. */
  async train(): Promise<AttemptEnd> {
    try {
      await this.#start()
      void this.#beat()
      while (await this.#trainOnce());
      return this.#host.book.isClosed && this.#host.isOver() ? 'done' : 'restart'
    } catch (error) {
      if (error instanceof FeedRefusal || error instanceof AttemptOver) return 'restart'
      throw error
    }
  }

  get #caller() {
    return { epoch: this.#run?.epoch ?? 0, rank: this.#rank }
  }

  async #ask<A>(what: string, call: Call<A>): Promise<A> {
    try {
      return await this.#host.network.ask(this, what, call)
    } catch (error) {
      if (error instanceof FeedRefusal) this.#expectReason(what, error)
      throw error
    }
  }

  /** What a call is told is in the log, also of other calls that the answer depends on. */
  #expectTold(what: string, is: (book: Book) => boolean): void {
    const { book, breaks } = this.#host
    book.look()
    if (!is(book)) breaks(`${this.name}: ${what} was answered, and the log does not have it`)
  }

  #expectReason(what: string, { code }: FeedRefusal): void {
    if (code !== 'fenced') return
    this.#expectTold(`${what} refused with fenced`, ({ run }) => (run?.epoch ?? 0) > (this.#run?.epoch ?? 0))
  }

  async #start(): Promise<void> {
    const { book, random, bug } = this.#host
    const { name: attempt, world_size } = this.#attempt
    await this.#ask('subscribe', (lab) => lab.subscribe(this.#host.inputs.subscription, 'beginning'))
    const [resume] = (await this.#gather(this.#rank === 0 ? await this.#chosen() : null)) as [string | null]
    const wanted = { run: RUN, attempt, world_size, resume, lineage: null }
    const run = await this.#ask('start', (lab) => lab.startRun(wanted))
    this.#expectTold('the start', (book) => book.attempts.get(attempt) === run.epoch)
    this.#run = run
    this.#step = run.step
    this.#parent = resume
    const files = [...book.chain.files.values()]
    const file = bug === 'other weights' && random.uniform() < 0.5 ? files.at(-1) : book.chain.files.get(resume ?? '')
    this.#weights = new Map(file?.weights)
  }

  /** A checkpoint that the feed can resume and whose file is there: mostly the last one. */
  async #chosen(): Promise<string | null> {
    const { book, random } = this.#host
    const listed = await this.#ask('look', async (lab) => lab.standing.checkpoints.map(({ checkpoint }) => checkpoint))
    const there = listed.filter((checkpoint) => book.chain.files.has(checkpoint))
    return (there.length > 1 && random.uniform() < 0.3 ? pick(random, there) : there.at(-1)) ?? null
  }

  /** @returns whether there may be more */
  async #trainOnce(): Promise<boolean> {
    const { isOver } = this.#host
    const is_over = isOver()
    for (let tries = 0; this.#held.length === 0 && tries < 3; tries++) await this.#lease()
    const told = (await this.#gather({ held: this.#held.length, is_over })) as { held: number; is_over: boolean }[]
    const enough = told.filter(({ held }) => held > 0).length
    if (enough === this.#attempt.world_size) {
      await this.#takeStep()
      return true
    }
    if (!told.every((one) => one.is_over)) return true
    // Ranks that have unequal numbers of groups left cannot go on together.
    await this.#release()
    await this.#save()
    return false
  }

  async #lease(): Promise<void> {
    const { inputs, random } = this.#host
    const wanted = {
      ...{ ...this.#caller, request: `${this.name} request ${this.#calls++}` },
      ...{ groups: random.integer(1, inputs.batch + 1), bytes: 2 ** 20 },
    }
    const wait_ms = random.integer(0, 60)
    const leased = await this.#ask('lease', (lab) => lab.lease(wanted, wait_ms, NEVER_ABORTED))
    if (leased === undefined) return
    const { lease, groups } = leased
    this.#expectTold(`lease ${lease}`, ({ state }) => state.last_lease >= lease)
    this.#held.push(...groups.map(({ sequence, group_id }) => ({ sequence, lease, group_id })))
    if (random.uniform() < 0.05) await this.#drop()
    if (random.uniform() < 0.05) await this.#release()
  }

  async #drop(): Promise<void> {
    const [first, ...others] = this.#held
    if (first === undefined) return
    const wanted = { ...this.#caller, reason: 'by_consumer' as const, detail: '', groups: [first.sequence] }
    this.#held = others
    try {
      await this.#ask('drop', (lab) => lab.drop(wanted))
    } catch (error) {
      if (!(error instanceof FeedRefusal) || (error.code !== 'lease_lost' && error.code !== 'used')) throw error
    }
  }

  async #release(): Promise<void> {
    const held = this.#held
    this.#held = []
    if (held.length > 0) await this.#ask('release', (lab) => lab.release(this.#caller, held))
  }

  async #takeStep(): Promise<void> {
    const { random } = this.#host
    const learned = await this.#begin()
    const everyone = (await this.#gather(learned.map(({ group_id }) => group_id))) as string[][]
    // As gradients are: every rank learns from the groups of all.
    for (const id of everyone.flat()) this.#weights.set(id, (this.#weights.get(id) ?? 0) + 1)
    if (random.uniform() < 0.1) await sleep(random.integer(0, 1_500))
    const step = this.#step
    await this.#ask('receipt', (lab) => lab.applied({ ...this.#caller, step, ...NO_METRICS }))
    const { epoch, rank } = this.#caller
    this.#expectTold('a receipt', ({ completed }) => completed.has(`${epoch} ${rank} ${step}`))
    this.#applied.push(...learned.map(({ sequence }) => sequence))
    if (step % this.#host.inputs.every === 0) await this.#save()
  }

  /** Begins the next step with what is left of the groups that it has. */
  async #begin(): Promise<readonly HeldGroup[]> {
    const step = this.#step + 1
    for (let tries = 0; tries < 20; tries++) {
      if (this.#held.length === 0) await this.#lease()
      const groups = this.#held
      if (groups.length === 0) continue
      const known = this.#publishedNow()
      try {
        await this.#ask('begin', (lab) => lab.beginStep({ ...this.#caller, step, groups }))
        this.#expectTold('begin_step', ({ begun }) => begun.has(`${this.#caller.epoch} ${this.#rank} ${step}`))
        this.#expectFresh(groups, known)
        this.#held = []
        this.#step = step
        return groups
      } catch (error) {
        if (!(error instanceof FeedRefusal)) throw error
        if (error.code !== 'lease_lost' && error.code !== 'stale' && error.code !== 'used') throw error
        const lost = new Set(error.details.groups)
        if (lost.size === 0) throw error
        this.#held = groups.filter(({ sequence }) => !lost.has(sequence))
      }
    }
    throw new AttemptOver('no groups for this rank, and others have begun the step')
  }

  #publishedNow(): number | undefined {
    const { book, lastOf } = this.#host
    // Of a lineage that has forked, older versions count too.
    return book.run?.forked_from === null ? lastOf(this.#run?.lineage ?? '') : undefined
  }

  /** Promise 6, by the models that were in the log before the step was begun. */
  #expectFresh(groups: readonly HeldGroup[], current: number | undefined): void {
    const { book, inputs, breaks } = this.#host
    const most = inputs.subscription.max_staleness
    if (current === undefined || most === null) return
    for (const { group_id } of groups) {
      const entry = [...book.entries.values()].find((one) => one.group_id === group_id)
      const version = entry?.policy_version_oldest ?? current
      if (entry?.begun_in === undefined || current - version <= most) continue
      breaks(`${this.name}: began a step with ${group_id} of version ${version} when ${current} was published`)
    }
  }

  async #save(): Promise<void> {
    const { book, random, inputs } = this.#host
    const everyone = (await this.#gather(this.#applied)) as number[][]
    const groups = everyone.flat()
    if (groups.length === 0) return
    let saved: string | null = null
    if (this.#rank === 0) {
      saved = `${this.#attempt.name} step ${this.#step}`
      const { epoch } = this.#caller
      const wanted = { epoch, checkpoint: saved, parent: this.#parent, step: this.#step, weights_sha256: 'w', groups }
      book.chain.files.set(saved, { step: this.#step, weights: new Map(this.#weights) })
      await this.#ask('checkpoint', (lab) => lab.checkpoint(wanted))
      this.#expectTold(`checkpoint ${saved}`, ({ chain }) => chain.has(wanted.checkpoint))
      if (inputs.publishes && random.uniform() < 0.6) await this.#publish()
    }
    const [taken] = (await this.#gather(saved)) as [string]
    this.#parent = taken
    this.#applied = []
  }

  async #publish(): Promise<void> {
    const { run, epoch, lineage } = this.#run as RunState
    const training = { run, epoch, step: this.#step, lineage }
    await this.#ask('publish', (lab) => lab.whileCurrent(training, () => this.#host.publish(lineage, training.step)))
  }

  /** What each rank gives in this round, in their order. */
  async #gather(value: unknown): Promise<unknown[]> {
    const { rounds, world_size } = this.#attempt
    const round = rounds.get(this.#round) ?? new Map<number, unknown>()
    rounds.set(this.#round++, round)
    round.set(this.#rank, value)
    while (round.size < world_size) await sleep(10)
    return Array.from({ length: world_size }, (_, rank) => round.get(rank))
  }

  /** Four times in each lease's period, while the process runs. */
  async #beat(): Promise<void> {
    const { network, inputs } = this.#host
    for (;;) {
      await sleep(inputs.subscription.lease_ms / 4)
      try {
        await network.once(this, 'heartbeat', (lab) => lab.heartbeat(this.#caller))
      } catch (error) {
        if (error instanceof FeedRefusal && error.code === 'fenced') return
      }
    }
  }
}
