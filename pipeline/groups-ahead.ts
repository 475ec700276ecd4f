import { sourceOf } from '../infra/ce-source.ts'
import { type LogRecord, OffsetGoneError } from '../infra/log/port/log.ts'
import { decodeRecord, decodeUnlessPoison } from '../infra/runtime/execute/decode-record.ts'
import { headerOf } from '../infra/runtime/internal/json-records.ts'
import type { Event } from '../schemas/declare/event.ts'
import { groupExpired, groupFormed, type PURPOSES, rolloutRequested } from '../schemas/events/rollout.ts'
import { TRAINING_EVENTS } from '../schemas/events/training.ts'
import { PoisonError } from '../schemas/wire/codec.ts'
import { DERIVED_BY } from '../sinks/duckdb/views/derived.ts'
import { matches } from '../sinks/feed/arrivals.ts'
import type { Subscription } from '../sinks/feed/consumer-parts.ts'
import { ConsumerState, namesOf } from '../sinks/feed/consumer-state.ts'
import { FORMED_BY, type Summary, summaryOf } from '../sinks/feed/group-topic.ts'
import { eventsOf, type TrainingLog } from '../sinks/feed/history.ts'
import { Remembered } from '../sinks/feed/remembered.ts'
import { LogTail } from './log-tail.ts'

/** What a request tells of its group before it is formed. */
export interface Asked {
  readonly origin: string
  readonly task: string
  readonly purpose: (typeof PURPOSES)[number]
}

/** Where a consumer is. */
export interface Ahead {
  readonly consumer: string
  /** Of its last training event; 0 before it subscribes. */
  readonly number: number
  readonly retired: string | undefined
  /** Groups that were asked for, and have neither formed nor expired. */
  readonly open: number
  /** Formed groups that are to be leased. */
  readonly waiting: number
}

/** Inferred: groups that closed a moment ago; a request of one of them that is read now is the same event again. */
const CLOSED_REMEMBERED = 65_536

const EXPIRED_BY = sourceOf(DERIVED_BY['rollout.group_expired'])
/** Effects before causes: below ends taken in this order, every effect has its cause. */
const TOPICS = [groupFormed.type, groupExpired.type, rolloutRequested.type]

/**
 * Counts the groups that are ahead of consumers: asked for and not formed, or formed and not leased. It reads the log
 * as it grows, and keeps what is open, not what is done.
 */
export class GroupsAhead {
  readonly #options: TrainingLog
  readonly #names: readonly string[]
  readonly #asks: Asked
  #topic_ids = ''
  #takers: readonly Taker[] = []
  #tail: LogTail
  /** By group; undefined until its request is decoded. One that was committed here and not read yet is `unread`. */
  #open = new Map<string, { readonly asked?: Asked; readonly at?: LogRecord; readonly unread?: true }>()
  /** Closed groups whose requests have not been read yet. */
  #early = new Set<string>()
  #closed = new Remembered<string>(CLOSED_REMEMBERED)

  /** @param asks what is asked for here: a consumer that has not subscribed yet is taken to want just that */
  constructor(options: TrainingLog, consumers: readonly string[], asks: Asked) {
    this.#options = options
    this.#names = consumers
    this.#asks = asks
    this.#tail = new LogTail(options.log, TOPICS)
  }

  /** As of the last `read`, and the groups asked for since. */
  get ahead(): readonly Ahead[] {
    const open = [...this.#open.values()]
    return this.#takers.map((taker) => ({
      consumer: taker.state.name,
      ...{ number: taker.state.number, retired: taker.state.retired, waiting: taker.waiting },
      open: open.filter(({ asked }) => asked !== undefined && taker.wants(asked)).length,
    }))
  }

  /** A group was asked for here. Its request may not be visible in the log yet. */
  asked(group_id: string, asked: Asked): void {
    if (!this.#open.has(group_id)) this.#open.set(group_id, { asked, unread: true })
  }

  /** Reads what the log has now. @throws Error when the log or a blob cannot be read; the next call goes on there */
  async read(): Promise<void> {
    await this.#expectSameTopics()
    const subscribed = await Promise.all(this.#takers.map((taker) => taker.read(this.#options)))
    // Its filter decides from now on which groups count, of those too that were read.
    if (subscribed.includes(true)) this.#startOver()
    await this.#tail.read((record) => this.#take(record))
    // The requests of these groups are not in the log any more.
    for (const group_id of this.#early) this.#closed.add(group_id)
    this.#early.clear()
    await this.#decodeOpen()
  }

  async #expectSameTopics(): Promise<void> {
    const names = new Set([...TOPICS, ...TRAINING_EVENTS.map(({ type }) => type)])
    const topics = await this.#options.log.topics()
    const ids = topics.flatMap(({ name, id }) => (names.has(name) ? [`${name}=${id}`] : [])).join()
    if (ids === this.#topic_ids) return
    // Also at the first read.
    this.#topic_ids = ids
    this.#takers = this.#names.map((name) => new Taker(name, this.#asks))
    this.#startOver()
  }

  #startOver(): void {
    this.#tail = new LogTail(this.#options.log, TOPICS)
    this.#open = new Map([...this.#open].filter(([, { unread }]) => unread))
    this.#early = new Set()
    this.#closed = new Remembered(CLOSED_REMEMBERED)
    for (const taker of this.#takers) taker.startOver()
  }

  #take(record: LogRecord): void | Promise<void> {
    const { key, topic } = record
    if (key === null) return
    if (topic === rolloutRequested.type) return this.#request(key, record)
    // Other programs can write to the topics; what they write closes no group.
    if (headerOf(record, 'ce_source') !== (topic === groupFormed.type ? FORMED_BY : EXPIRED_BY)) return
    if (topic === groupExpired.type) return this.#close(key)
    return this.#formed(record).then(() => this.#close(key))
  }

  #close(group_id: string): void {
    if (this.#closed.has(group_id)) return
    if (this.#open.delete(group_id)) this.#closed.add(group_id)
    else this.#early.add(group_id)
  }

  #request(group_id: string, at: LogRecord): void {
    if (this.#early.delete(group_id)) this.#closed.add(group_id)
    if (this.#closed.has(group_id)) return
    const { asked } = this.#open.get(group_id) ?? {}
    // Most are closed soon: only those that stay open are decoded, and their records are not kept until then.
    this.#open.set(group_id, asked === undefined ? { at: { ...at, headers: [], value: null } } : { asked })
  }

  async #formed(record: LogRecord): Promise<void> {
    const takers = this.#takers.filter((taker) => taker.isAhead(record))
    // What a filter does not look at need not be decoded; a group can be large.
    const summary = takers.some((taker) => taker.isChoosy) ? await this.#summary(record) : undefined
    for (const taker of takers) {
      if (!taker.isChoosy || (summary !== undefined && taker.takes(summary))) taker.add(record)
    }
  }

  /** @returns undefined when it is no event: the feed does not give it out */
  async #summary(record: LogRecord): Promise<Summary | undefined> {
    const { vocabulary, partitions, blobs } = this.#options
    const event = await decodeUnlessPoison(record, vocabulary, partitions, blobs)
    return event === undefined ? undefined : summaryOf('', record, event)
  }

  async #decodeOpen(): Promise<void> {
    for (const [group_id, { asked, at }] of this.#open) {
      if (asked !== undefined || at === undefined) continue
      const found = await this.#askedIn(at)
      if (found !== undefined && this.#takers.some((taker) => taker.wants(found))) {
        this.#open.set(group_id, { asked: found })
      } else this.#open.delete(group_id)
    }
  }

  /** @returns undefined when it is no request, or is not there any more */
  async #askedIn({ topic, partition, offset }: LogRecord): Promise<Asked | undefined> {
    const { log, vocabulary, partitions, blobs } = this.#options
    try {
      const { records } = await log.read({ topic, partition, from: offset, max_bytes: 1 })
      const record = records.find((one) => one.offset === offset)
      if (record === undefined) return undefined
      const { data } = (await decodeRecord(record, vocabulary, partitions, blobs)) as Event<typeof rolloutRequested>
      return { origin: data.origin, task: data.task, purpose: data.purpose }
    } catch (error) {
      if (error instanceof PoisonError || error instanceof OffsetGoneError) return undefined
      throw error
    }
  }
}

/** A consumer, with the groups that match and that it has not drawn. */
class Taker {
  readonly state: ConsumerState
  readonly #asks: Asked
  readonly #positions = new Map<string, bigint>()
  /** Offsets by partition, ascending. */
  readonly #undrawn = new Map<number, Set<number>>()

  constructor(name: string, asks: Asked) {
    this.state = new ConsumerState(name)
    this.#asks = asks
  }

  /** Reads its training events. @returns whether it has subscribed now */
  async read(options: TrainingLog): Promise<boolean> {
    const { state } = this
    const before = state.subscription
    for await (const event of eventsOf(options, state.name, state.number, this.#positions)) {
      const { number } = namesOf(event)
      // An event of another topic before it is not visible yet.
      if (number > state.number + 1) break
      if (number === state.number + 1) state.apply(event)
    }
    for (const [partition, offsets] of this.#undrawn) {
      for (const offset of offsets) {
        if (offset >= this.#drawn(partition)) break
        offsets.delete(offset)
      }
    }
    if (state.retired !== undefined) this.#undrawn.clear()
    return before !== state.subscription
  }

  /** Formed groups that match: those without a number, and those that wait under theirs. */
  get waiting(): number {
    let undrawn = 0
    for (const offsets of this.#undrawn.values()) undrawn += offsets.size
    return undrawn + this.state.open.counts.waiting
  }

  /** Whether a group has not been drawn, and counts at all. */
  isAhead({ partition, offset }: LogRecord): boolean {
    return this.state.retired === undefined && Number(offset) >= this.#drawn(partition)
  }

  /** Whether its filter decides by what is in a group. */
  get isChoosy(): boolean {
    return Object.values(this.#filter).some((wanted) => wanted !== null && wanted !== false)
  }

  wants({ origin, task, purpose }: Asked): boolean {
    const { purposes, ...filter } = this.#filter
    if (purposes !== null && !purposes.includes(purpose)) return false
    return (filter.origin ?? origin) === origin && (filter.task ?? task) === task
  }

  takes(group: Summary): boolean {
    return matches(this.#filter, group)
  }

  add({ partition, offset }: LogRecord): void {
    const offsets = this.#undrawn.get(partition) ?? new Set()
    this.#undrawn.set(partition, offsets.add(Number(offset)))
  }

  startOver(): void {
    this.#undrawn.clear()
  }

  #drawn(partition: number): number {
    return this.state.drawn.get(partition) ?? 0
  }

  get #filter(): Subscription['filter'] {
    return (
      this.state.subscription?.filter ?? {
        ...ANY,
        origin: this.#asks.origin,
        task: this.#asks.task,
        purposes: [this.#asks.purpose],
      }
    )
  }
}

const ANY: Subscription['filter'] = {
  ...{ origin: null, task: null, dialect: null, reward_name: null, lineages: null },
  ...{ with_variance: false, purposes: null },
}
