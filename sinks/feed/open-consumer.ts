import { ResumingProducer } from '../../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../../infra/sleep.ts'
import { Arrivals } from './arrivals.ts'
import type { RunState } from './consumer-parts.ts'
import type { ConsumerState, Standing } from './consumer-state.ts'
import { type CheckpointWanted, saveCheckpoint } from './decide/checkpoint.ts'
import { type Caller, subscribed } from './decide/current.ts'
import type { Decisions } from './decide/decisions.ts'
import {
  dropGone,
  expire,
  expireOffsets,
  type Held,
  type Leased,
  type LeaseWanted,
  lease,
  leasedBefore,
  missing,
  release,
} from './decide/lease.ts'
import { type RunWanted, startRun } from './decide/run.ts'
import type { Published } from './decide/staleness.ts'
import { applied, beginStep, type Drop, drop, type Receipt, type StepWanted } from './decide/step.ts'
import { type Begins, retire, subscribe, type Wanted } from './decide/subscribe.ts'
import { expectTraining, type Training } from './decide/training.ts'
import { Deciding, type DecidingOptions } from './deciding.ts'
import type { GroupTopic } from './group-topic.ts'
import { Hearing } from './hearing.ts'
import type { PublishedModels } from './published-models.ts'
import { FeedRefusal, isOverKafka } from './refusal.ts'
import { type Restored, type RestoreOptions, restored } from './restore.ts'
import { type Append, positionAt } from './shared-commits.ts'
import { type SnapshotOptions, Snapshots } from './snapshots.ts'

export interface ConsumerOptions extends RestoreOptions, DecidingOptions, SnapshotOptions {
  readonly groups: GroupTopic
  readonly models: PublishedModels
  /** Milliseconds of a clock that never goes back, for heartbeats. */
  readonly now_ms: () => number
}

/** How often a lease that waits looks for new groups. */
const LOOK_MS = 25

/**
 * A consumer of which this process is the feed: its state, and the one producer that may add to it. Calls decide one after
 * the other, and each decision is in the state at once. No answer leaves before a commit has everything that it may depend
 * on, so calls that wait for a commit together share one. After a failed commit the object is of no use any more: open the
 * consumer again.
 */
export class OpenConsumer {
  /** As it is decided. What others are told comes from `standing`, or waits until this is committed. */
  readonly state: ConsumerState
  readonly #options: ConsumerOptions
  readonly #producer: ResumingProducer
  readonly #deciding: Deciding
  readonly #hearing: Hearing
  readonly #snapshots: Snapshots
  #arrivals: Arrivals | undefined

  private constructor(options: ConsumerOptions, producer: ResumingProducer, { state, snapshot }: Restored) {
    this.#options = options
    this.#producer = producer
    this.state = state
    this.#deciding = new Deciding(options, producer, state, () => {
      this.#arrivals?.settle(state.drawn)
      this.#snapshots.takeIfDue(state)
    })
    this.#hearing = new Hearing(state.run?.epoch ?? 0, options.now_ms)
    const take = (record: Append) => this.#deciding.append(record)
    this.#snapshots = new Snapshots(options, snapshot, take)
    this.#snapshots.takeIfDue(state)
  }

  /** Fences every other feed of this consumer, and reads what they have decided. */
  static async open(options: ConsumerOptions, name: string): Promise<OpenConsumer> {
    const id = `feed/${name}`
    const producer = await ResumingProducer.open(options.log, { transactional_id: id, group: id })
    try {
      const last = Math.max(0, ...producer.positions.map(({ next }) => Number(next)))
      // Before anything is read: a feed that was fenced finds out at once by whom.
      await producer.commit(() => {}, [positionAt(last)])
      const found = await restored(options, name, last)
      // It subscribed since the feed looked.
      if (found.state.subscription?.transport === 'kafka') throw isOverKafka(name)
      return new OpenConsumer(options, producer, found)
    } catch (error) {
      await producer.close()
      throw error
    }
  }

  /** Names this feed in the positions that it commits. */
  get mark(): string {
    return this.#producer.mark
  }

  get name(): string {
    return this.state.name
  }

  /** The consumer as of the last commit. */
  get standing(): Standing {
    return this.#deciding.standing
  }

  /** For how long the most silent rank of this epoch was not heard of here; undefined without a run. */
  get silence_seconds(): number | undefined {
    const { run } = this.standing
    return run === undefined ? undefined : this.#hearing.silenceSeconds(run.world_size)
  }

  /** Why it is of no use any more, if so. */
  get failure(): unknown {
    return this.#deciding.failure
  }

  async subscribe(wanted: Wanted, from: 'beginning' | 'now'): Promise<void> {
    const begins = await this.#begins(from)
    await this.#deciding.run((decisions) => subscribe(this.state, decisions, wanted, begins))
  }

  async retire(reason: string): Promise<void> {
    await this.#deciding.run((decisions) => retire(this.state, decisions, reason))
  }

  async startRun(wanted: RunWanted): Promise<RunState> {
    const published = await this.#published()
    return await this.#deciding.runThen(
      (decisions) => startRun(this.state, decisions, wanted, published),
      () => {
        const run = this.state.run as RunState
        this.#hearing.listenTo(run.epoch)
        return run
      },
    )
  }

  /** @returns undefined when no group came within `wait_ms` */
  async lease(wanted: LeaseWanted, wait_ms: number, signal: AbortSignal): Promise<Leased | undefined> {
    const until_ms = this.#options.now_ms() + wait_ms
    for (;;) {
      let has_dropped = false
      // Other calls need not wait for what is being read.
      const [published] = await Promise.all([this.#published(), this.#pagesAhead(wanted)])
      const leased = await this.#deciding.run(async (decisions) => {
        this.#hearing.hear(this.state, wanted)
        const repeated = leasedBefore(this.state, wanted)
        if (repeated !== undefined) return repeated
        await this.#expectTopic()
        const draws = await this.#drawable(missing(this.state, wanted))
        expireOffsets(this.state, decisions, wanted, this.#arrivals?.expired ?? [])
        const leased = lease(this.state, decisions, wanted, draws, published)
        has_dropped = decisions.made.length > 0
        return leased
      })
      if (leased !== undefined) return leased
      if (signal.aborted) return undefined
      // Groups that were too old were dropped: there may be others behind them.
      if (has_dropped) continue
      if (this.#options.now_ms() >= until_ms) return undefined
      await sleep(LOOK_MS, signal)
    }
  }

  /** @returns the sequence numbers of what the rank has leased */
  async heartbeat(caller: Caller): Promise<number[]> {
    return await this.#deciding.seen(() => {
      this.#hearing.hear(this.state, caller)
      return [...this.state.open.values()].flatMap(({ state, lease, sequence }) =>
        state === 'leased' && lease?.rank === caller.rank ? [sequence] : [],
      )
    })
  }

  async release(caller: Caller, groups: readonly Held[]): Promise<number> {
    return await this.#decideFor(caller, (decisions) => release(this.state, decisions, caller, groups))
  }

  /** Drops groups of a lease whose records are gone. @returns those that are left */
  async dropGone({ lease, groups }: Leased, caller: Caller, gone: readonly number[]): Promise<Leased> {
    await this.#decideFor(caller, (decisions) => dropGone(this.state, decisions, caller, gone))
    this.#options.report(
      `consumer ${this.name}: ${gone.length} groups that waited are not in the log any more; they are dropped as expired_unread: number ${gone.slice(0, 5).join(', ')}${gone.length > 5 ? ', …' : ''}`,
    )
    return { lease, groups: groups.filter(({ sequence }) => !gone.includes(sequence)) }
  }

  async beginStep(wanted: StepWanted): Promise<number> {
    const published = await this.#published()
    const refusal = await this.#decideFor(wanted, (decisions) => beginStep(this.state, decisions, wanted, published))
    if (refusal !== undefined) throw refusal
    return wanted.groups.length
  }

  async applied(receipt: Receipt): Promise<number> {
    return await this.#decideFor(receipt, (decisions) => applied(this.state, decisions, receipt))
  }

  async drop(wanted: Drop): Promise<number> {
    return await this.#decideFor(wanted, (decisions) => drop(this.state, decisions, wanted))
  }

  async checkpoint(wanted: CheckpointWanted): Promise<number> {
    const published = await this.#published()
    return await this.#deciding.run((decisions) => saveCheckpoint(this.state, decisions, wanted, published))
  }

  /**
   * Ends the leases of ranks that have been silent for too long.
   *
   * @param deaf_ms how long this process has received nothing, because it did not run
   */
  async expireLeases(deaf_ms = 0): Promise<void> {
    this.#hearing.wasDeaf(deaf_ms)
    const { subscription } = this.state
    if (subscription === undefined) return
    const ending = [...this.#hearing.silent(this.state, subscription.lease_ms)].map((rank) =>
      this.#deciding.run((decisions) => {
        // It may have called while this waited for its turn.
        if (this.#hearing.silent(this.state, subscription.lease_ms).has(rank)) expire(this.state, decisions, rank)
      }),
    )
    await Promise.all(ending)
  }

  /**
   * Runs `work` while no other call of this consumer can begin an epoch.
   *
   * @throws FeedRefusal when the caller's epoch, run, lineage or step are not those of the run
   */
  whileCurrent<A>(caller: Training, work: () => Promise<A>): Promise<A> {
    return this.#deciding.run(async () => {
      expectTraining(this.state, caller)
      return await work()
    })
  }

  /** An upper bound of the groups that are not numbered yet. */
  async behind(): Promise<number> {
    const { retired, subscription } = this.standing
    if (retired !== undefined || subscription === undefined) return 0
    return await this.#deciding.run(() => this.#arrivalsNow().behind())
  }

  /** Decides nothing more, and commits what is decided. */
  async close(): Promise<void> {
    await this.#deciding.close()
    await this.#snapshots.close()
    await this.#producer.close()
  }

  async #begins(from: 'beginning' | 'now'): Promise<Begins> {
    const { groups } = this.#options
    const [topic_id, beginnings, ends] = await Promise.all([groups.id(), groups.beginnings(), groups.ends()])
    const places = (offsets: readonly number[]) => offsets.map((offset, partition) => ({ partition, offset }))
    return { topic_id, start: places(from === 'now' ? ends : beginnings), formed_before: places(ends) }
  }

  #arrivalsNow(): Arrivals {
    const subscription = subscribed(this.state)
    this.#arrivals ??= new Arrivals(this.#options.groups, subscription, this.state.drawn, this.#options.now_ms)
    return this.#arrivals
  }

  async #pagesAhead(wanted: LeaseWanted): Promise<void> {
    let is_more_wanted = false
    try {
      is_more_wanted = missing(this.state, wanted) > 0
    } catch {
      // The call is refused in its turn.
    }
    if (is_more_wanted) await this.#arrivals?.pagesAhead()
  }

  async #drawable(groups: number) {
    return groups === 0 ? [] : await this.#arrivalsNow().next(groups)
  }

  /** Offsets of another topic would name other groups. @throws FeedRefusal */
  async #expectTopic(): Promise<void> {
    const { topic_id } = subscribed(this.state)
    const now = await this.#options.groups.id()
    if (topic_id === now) return
    throw new FeedRefusal(
      'other_topic',
      `consumer ${this.state.name}: its groups are in a topic rollout.group_formed that was deleted and made again (its id was ${topic_id}, it is ${now}); retire it, and subscribe under another name`,
    )
  }

  #published(): Promise<Published> {
    return this.#options.models.now()
  }

  #decideFor<A>(caller: Caller, decide: (decisions: Decisions) => A | Promise<A>): Promise<A> {
    return this.#deciding.run((decisions) => {
      this.#hearing.hear(this.state, caller)
      return decide(decisions)
    })
  }
}
