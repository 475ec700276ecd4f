import { ResumingProducer } from '../../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../../infra/sleep.ts'
import { consumerSubscribed } from '../../schemas/events/training.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { homesOf } from '../../schemas/wire/routing.ts'
import { Arrivals } from './arrivals.ts'
import { ConsumerState } from './consumer-state.ts'
import { type CheckpointWanted, saveCheckpoint } from './decide/checkpoint.ts'
import { type Caller, current, subscribed } from './decide/current.ts'
import { Decisions } from './decide/decisions.ts'
import {
  dropGone,
  expire,
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
import type { GroupTopic } from './group-topic.ts'
import { eventsOf, type TrainingLog } from './history.ts'
import type { PublishedModels } from './published-models.ts'
import { FeedRefusal, isOverKafka } from './refusal.ts'

/** Where a test may kill the process. */
export type FeedStage = 'decided' | 'committed'

export interface ConsumerOptions extends TrainingLog {
  readonly groups: GroupTopic
  readonly models: PublishedModels
  /** Milliseconds of a clock that never goes back, for heartbeats. */
  readonly now_ms: () => number
  /** The time of events. */
  readonly time: () => string
  readonly observe?: (stage: FeedStage) => unknown
  /** How long committed events may stay invisible to a reader, as on Kafka. */
  readonly visible_ms?: number
  /** Called after each commit. */
  readonly committed?: (consumer: string) => void
}

/** How often a lease that waits looks for new groups. */
const LOOK_MS = 25
/** Inferred. */
const VISIBLE_MS = 10_000

/**
 * A consumer of which this process is the feed: its state, and the one producer that may add to it. Calls run one after
 * the other. After a failed commit the object is of no use any more: open the consumer again.
 */
export class OpenConsumer {
  readonly state: ConsumerState
  readonly #options: ConsumerOptions
  readonly #producer: ResumingProducer
  /** When each rank of an epoch was last heard of, and since when this feed listens to that epoch. */
  #heard: { readonly epoch: number; readonly since_ms: number; readonly ranks: Map<number, number> }
  #opened_ms: number
  #arrivals: Arrivals | undefined
  #turn: Promise<unknown> = Promise.resolve()
  /** Why nothing more can be committed here. */
  #failure: unknown

  private constructor(options: ConsumerOptions, producer: ResumingProducer, state: ConsumerState) {
    this.#options = options
    this.#producer = producer
    this.state = state
    this.#opened_ms = options.now_ms()
    this.#heard = { epoch: state.run?.epoch ?? 0, since_ms: this.#opened_ms, ranks: new Map() }
  }

  /** Fences every other feed of this consumer, and reads what they have decided. */
  static async open(options: ConsumerOptions, name: string): Promise<OpenConsumer> {
    const id = `feed/${name}`
    const producer = await ResumingProducer.open(options.log, { transactional_id: id, group: id })
    try {
      const last = Math.max(0, ...producer.positions.map(({ next }) => Number(next)))
      // Before anything is read: a feed that was fenced finds out at once by whom.
      await producer.commit(() => {}, [positionAt(last)])
      const state = await restored(options, name, last)
      // It subscribed since the feed looked.
      if (state.subscription?.transport === 'kafka') throw isOverKafka(name)
      return new OpenConsumer(options, producer, state)
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

  /** For how long the most silent rank of this epoch was not heard of here; undefined without a run. */
  get silence_seconds(): number | undefined {
    const { run } = this.state
    if (run === undefined) return undefined
    const { since_ms, ranks } = this.#heard
    let earliest_ms = ranks.size < run.world_size ? since_ms : Number.POSITIVE_INFINITY
    for (const heard_ms of ranks.values()) earliest_ms = Math.min(earliest_ms, heard_ms)
    return Math.max(0, this.#options.now_ms() - earliest_ms) / 1_000
  }

  /** Why it is of no use any more, if so. */
  get failure(): unknown {
    return this.#failure
  }

  async subscribe(wanted: Wanted, from: 'beginning' | 'now'): Promise<void> {
    const begins = await this.#begins(from)
    await this.#decide((decisions) => subscribe(this.state, decisions, wanted, begins))
  }

  async retire(reason: string): Promise<void> {
    await this.#decide((decisions) => retire(this.state, decisions, reason))
  }

  async startRun(wanted: RunWanted): Promise<NonNullable<ConsumerState['run']>> {
    await this.#decide(async (decisions) => startRun(this.state, decisions, wanted, await this.#published()))
    this.#listenTo(this.state.run?.epoch ?? 0)
    return this.state.run as NonNullable<ConsumerState['run']>
  }

  /** @returns undefined when no group came within `wait_ms` */
  async lease(wanted: LeaseWanted, wait_ms: number, signal: AbortSignal): Promise<Leased | undefined> {
    const until_ms = this.#options.now_ms() + wait_ms
    for (;;) {
      let has_dropped = false
      // Other calls need not wait for what is being read.
      if (missing(this.state, wanted) > 0) await this.#arrivals?.pagesAhead()
      const leased = await this.#decide(async (decisions) => {
        this.#hear(wanted)
        const repeated = leasedBefore(this.state, wanted)
        if (repeated !== undefined) return repeated
        await this.#expectTopic()
        const draws = await this.#drawable(missing(this.state, wanted))
        const leased = lease(this.state, decisions, wanted, draws, await this.#published())
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
  heartbeat(caller: Caller): number[] {
    this.#hear(caller)
    return [...this.state.open.values()].flatMap(({ state, lease, sequence }) =>
      state === 'leased' && lease?.rank === caller.rank ? [sequence] : [],
    )
  }

  async release(caller: Caller, groups: readonly Held[]): Promise<number> {
    return await this.#decideFor(caller, (decisions) => release(this.state, decisions, caller, groups))
  }

  /** Drops groups of a lease whose records are gone. @returns those that are left */
  async dropGone({ lease, groups }: Leased, caller: Caller, gone: readonly number[]): Promise<Leased> {
    await this.#decideFor(caller, (decisions) => dropGone(this.state, decisions, caller, gone))
    return { lease, groups: groups.filter(({ sequence }) => !gone.includes(sequence)) }
  }

  async beginStep(wanted: StepWanted): Promise<number> {
    const refusal = await this.#decideFor(wanted, async (decisions) =>
      beginStep(this.state, decisions, wanted, await this.#published()),
    )
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
    return await this.#decide(async (decisions) =>
      saveCheckpoint(this.state, decisions, wanted, await this.#published()),
    )
  }

  /**
   * Ends the leases of ranks that have been silent for too long.
   *
   * @param deaf_ms how long this process has received nothing, because it did not run
   */
  async expireLeases(deaf_ms = 0): Promise<void> {
    this.#opened_ms += deaf_ms
    for (const [rank, heard_ms] of this.#heard.ranks) this.#heard.ranks.set(rank, heard_ms + deaf_ms)
    const { subscription } = this.state
    if (subscription === undefined) return
    for (const rank of this.#silent(subscription.lease_ms)) {
      await this.#decide((decisions) => {
        // It may have called while this waited for its turn.
        if (this.#silent(subscription.lease_ms).has(rank)) expire(this.state, decisions, rank)
      })
    }
  }

  /** An upper bound of the groups that are not numbered yet. */
  async behind(): Promise<number> {
    if (this.state.retired !== undefined || this.state.subscription === undefined) return 0
    return await this.#inTurn(() => this.#arrivalsNow().behind())
  }

  async close(): Promise<void> {
    await this.#turn
    this.#failure ??= new Error(`consumer ${this.state.name}: this feed is closed`)
    await this.#producer.close()
  }

  #silent(lease_ms: number): Set<number> {
    const ranks = new Set<number>()
    if (this.state.open.counts.leased === 0) return ranks
    for (const { state, lease } of this.state.open.values()) {
      if (state !== 'leased' || lease === undefined || ranks.has(lease.rank)) continue
      const heard_ms = this.#heard.ranks.get(lease.rank) ?? this.#opened_ms
      if (this.#options.now_ms() - heard_ms > lease_ms) ranks.add(lease.rank)
    }
    return ranks
  }

  /** @throws FeedRefusal for a caller of an earlier epoch */
  #hear(caller: Caller): void {
    const { epoch } = current(this.state, caller).run
    this.#listenTo(epoch)
    this.#heard.ranks.set(caller.rank, this.#options.now_ms())
  }

  #listenTo(epoch: number): void {
    if (this.#heard.epoch !== epoch) this.#heard = { epoch, since_ms: this.#options.now_ms(), ranks: new Map() }
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
    return this.#decide((decisions) => {
      this.#hear(caller)
      return decide(decisions)
    })
  }

  /** Runs a decision in its turn, and commits the events that it makes. */
  #decide<A>(decide: (decisions: Decisions) => A | Promise<A>): Promise<A> {
    return this.#inTurn(async () => {
      const decisions = new Decisions(this.state, this.#options.time())
      const answer = await decide(decisions)
      if (decisions.made.length > 0) await this.#commit(decisions)
      return answer
    })
  }

  async #commit({ made }: Decisions): Promise<void> {
    const { observe, committed, partitions } = this.#options
    const { number, name } = this.state
    const encoded = made.map(({ type, event }) => {
      const { key, headers, value } = encodeEvent(type, event)
      return { type, record: { key, headers, value } }
    })
    try {
      observe?.('decided')
      await this.#producer.commit(
        (transaction) => {
          for (const { type, record } of encoded) {
            for (const home of homesOf(type, name, partitions)) transaction.append(type.type, home, record)
          }
        },
        [positionAt(number + made.length)],
      )
      observe?.('committed')
      committed?.(name)
      for (const { event } of made) this.state.apply(event)
    } catch (error) {
      // What the log has now is not known here: the state has to be read again.
      this.#failure = error
      throw error
    }
    this.#arrivals?.settle(this.state.drawn)
  }

  #inTurn<A>(work: () => Promise<A>): Promise<A> {
    const turn = this.#turn.then(() => {
      if (this.#failure !== undefined) throw this.#failure
      return work()
    })
    this.#turn = turn.catch(() => {})
    return turn
  }
}

/** Where the feed of a consumer is: after so many of its events. */
const positionAt = (number: number) => ({ topic: consumerSubscribed.type, partition: 0, next: BigInt(number) })

/** The state as of the last event that was committed under this name. */
async function restored(options: ConsumerOptions, name: string, last: number): Promise<ConsumerState> {
  const until_ms = performance.now() + (options.visible_ms ?? VISIBLE_MS)
  for (;;) {
    const state = new ConsumerState(name)
    for await (const event of eventsOf(options, name)) {
      // One that is not visible yet may be in another topic than those after it.
      if (!state.isNext(event)) break
      state.apply(event)
    }
    if (state.number >= last) return state
    if (performance.now() >= until_ms) {
      throw new Error(
        `consumer ${name}: expected ${last} training events in ${options.log.address}, found ${state.number} and not the one after them: it is missing or damaged; ./plumbline verify tells where`,
      )
    }
    await sleep(LOOK_MS)
  }
}
