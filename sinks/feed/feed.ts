import { longerPause } from '../../infra/retry.ts'
import { RivalError } from '../../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../../infra/sleep.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { joinEvents } from '../../schemas/wire/codec.ts'
import type { Caller } from './decide/current.ts'
import type { Leased, LeaseWanted } from './decide/lease.ts'
import { GroupGoneError, type GroupRecord, GroupTopic } from './group-topic.ts'
import { consumersIn, type Transport } from './history.ts'
import { OpenConsumer } from './open-consumer.ts'
import { type NumberedGroup, numbered } from './open-groups.ts'
import { PublishedModels } from './published-models.ts'
import { FeedRefusal, isOverKafka } from './refusal.ts'
import { Sending } from './sending.ts'
import type { ObserveCommits } from './shared-commits.ts'
import type { SnapshotReading } from './snapshots.ts'
import { FeedCounts } from './watch/feed-counts.ts'

export interface FeedOptions extends SnapshotReading {
  readonly report: (message: string) => void
  readonly observe?: ObserveCommits
  readonly now_ms?: () => number
  readonly time?: () => string
  readonly visible_ms?: number
  /** How many events of a consumer a snapshot is taken after; infinity: none is taken. */
  readonly snapshot_events?: number
}

/** A lease as it is sent. */
export interface LeaseAnswer {
  readonly pieces: readonly Uint8Array[]
  /** To be called once they are sent or given up. */
  readonly sent: () => void
}

/** Of the groups that are being sent to all trainers. Inferred. */
const MOST_SENDING_BYTES = 256 * 2 ** 20
const READ_AT_ONCE = 16
/** How often leases are looked at. */
const EXPIRY_MS = 100
/** A timer may be so late on a busy machine. Inferred. */
const LATE_MS = 500

/** Gives groups to training consumers and records what they do with them; `docs/feed.md` has what it promises. */
export class Feed {
  readonly counts = new FeedCounts()
  readonly #options: FeedOptions
  readonly #groups: GroupTopic
  readonly #models: PublishedModels
  readonly #open = new Map<string, Promise<OpenConsumer>>()
  readonly #opened = new Map<string, OpenConsumer>()
  readonly #stop = new AbortController()
  readonly #sending = new Sending(MOST_SENDING_BYTES)
  readonly #expiring: Promise<void>

  constructor(options: FeedOptions) {
    this.#options = options
    this.#groups = new GroupTopic(options)
    this.#models = new PublishedModels(options)
    this.#expiring = this.#expireLeases()
  }

  /** Aborts when the feed closes: calls that wait then end. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** The consumers that this feed has now. */
  get consumers(): readonly OpenConsumer[] {
    return [...this.#opened.values()].filter(({ failure }) => failure === undefined)
  }

  /** The names of all consumers, those too that have retired. */
  async names(): Promise<string[]> {
    return [...(await consumersIn(this.#options)).keys()]
  }

  /**
   * The consumer of this name. Other feeds can no longer decide for it.
   *
   * @param unknown what to do with one that never subscribed
   * @throws FeedRefusal for an unknown one, and for one whose subscription is over Kafka
   * @throws RivalError once a later feed has taken it over
   * @throws Error when the log cannot be read or written
   */
  async consumer(name: string, unknown: 'refuse' | 'open' = 'refuse'): Promise<OpenConsumer> {
    this.#stop.signal.throwIfAborted()
    const there = this.#open.get(name)
    const consumer = await there
    if (consumer !== undefined && consumer.failure === undefined) return consumer
    // Opening it again would take it back from the other feed.
    if (consumer?.failure instanceof RivalError) throw consumer.failure
    await consumer?.close()
    if (consumer !== undefined) await this.#expectOwn(name, consumer)
    const transport = consumer === undefined ? (await consumersIn(this.#options)).get(name) : 'http'
    if (transport === undefined && unknown === 'refuse') throw isUnknown(name)
    // Opening it would fence its trainer.
    if (transport === 'kafka') throw isOverKafka(name)
    // Another call may have opened it meanwhile.
    if (this.#open.get(name) !== there) return await this.consumer(name, unknown)
    const opening = OpenConsumer.open(
      {
        ...this.#options,
        ...{ groups: this.#groups, models: this.#models },
        now_ms: this.#options.now_ms ?? (() => performance.now()),
        time: this.#options.time ?? (() => new Date().toISOString()),
        committed: (consumer) => this.counts.committed(consumer),
      },
      name,
    )
    this.#open.set(name, opening)
    opening.then(
      (opened) => this.#opened.set(name, opened),
      () => this.#open.delete(name),
    )
    return await opening
  }

  /** After a failure that was not about another feed, one may have taken the consumer all the same. @throws RivalError */
  async #expectOwn(name: string, { mark, failure }: OpenConsumer): Promise<void> {
    const by = (await this.#options.log.committed(`feed/${name}`)).map(({ seen }) => seen?.by)
    if (by.every((one) => one === mark)) return
    const rival = new RivalError(`feed/${name}: another feed does the same work and has gone on with it`, {
      cause: failure,
    })
    this.#open.set(name, Promise.reject(rival))
    this.#open.get(name)?.catch(() => {})
    throw rival
  }

  /** The groups of a lease, their tensors as elements. @throws Error when the log or a blob cannot be read */
  async groupsOf({ groups }: Leased): Promise<readonly Event[]> {
    return (await Promise.all(groups.map((group) => this.#groups.group(group)))).map((found) => found.event())
  }

  /**
   * Leases groups, and reads them. Those whose records are gone are dropped.
   *
   * @returns undefined when no group came in time
   * @throws Error when the log or a blob cannot be read: the lease stays
   */
  async lease(
    consumer: OpenConsumer,
    wanted: LeaseWanted,
    wait_ms: number,
    signal: AbortSignal,
  ): Promise<LeaseAnswer | undefined> {
    for (;;) {
      const leased = await consumer.lease(wanted, wait_ms, signal)
      if (leased === undefined) return undefined
      const bytes = leased.groups.reduce((sum, group) => sum + group.bytes, 0)
      const sent = await this.#sending.enter(bytes, signal)
      try {
        const { found, gone } = await this.#read(leased)
        const left = gone.length === 0 ? leased : await consumer.dropGone(leased, wanted, gone)
        if (left.groups.length > 0) return { pieces: piecesOf(left, wanted, found), sent }
        sent()
      } catch (error) {
        sent()
        throw error
      }
    }
  }

  async #read({ groups }: Leased): Promise<{ readonly found: GroupRecord[]; readonly gone: number[] }> {
    const found: GroupRecord[] = []
    const gone: number[] = []
    for (let from = 0; from < groups.length; from += READ_AT_ONCE) {
      const some = groups.slice(from, from + READ_AT_ONCE)
      const read = await Promise.allSettled(some.map((group) => this.#groups.group(group)))
      for (const [at, one] of read.entries()) {
        if (one.status === 'fulfilled') found.push(one.value)
        else if (one.reason instanceof GroupGoneError) gone.push((some[at] as NumberedGroup).sequence)
        else throw one.reason
      }
    }
    return { found, gone }
  }

  /** Ends waiting calls, finishes commits under way, and lets other feeds have the consumers. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#expiring
    const consumers = await Promise.allSettled(this.#open.values())
    await Promise.all(
      consumers.map(async (found) => {
        if (found.status === 'fulfilled') await found.value.close().catch(() => undefined)
      }),
    )
  }

  /** Opens every consumer, so that the leases of a trainer that never comes back end too. */
  async #expireLeases(): Promise<void> {
    const { signal } = this.#stop
    const loops = new Map<string, Promise<void>>()
    let consumers: ReadonlyMap<string, Transport> | undefined
    const trouble: Trouble = {}
    while (!signal.aborted) {
      consumers ??= await this.#orTrouble(trouble, () => consumersIn(this.#options))
      const names = [...(consumers ?? [])].flatMap(([name, transport]) => (transport === 'http' ? [name] : []))
      for (const name of new Set([...names, ...this.#open.keys()])) {
        if (!loops.has(name)) loops.set(name, this.#expireLeasesOf(name))
      }
      await sleep(EXPIRY_MS, signal)
    }
    await Promise.all(loops.values())
  }

  async #expireLeasesOf(name: string): Promise<void> {
    const { signal } = this.#stop
    const trouble: Trouble = {}
    let pause_ms = 0
    let last_ms = performance.now()
    while (!signal.aborted) {
      // While this process does not run, it receives nothing: what was sent meanwhile is read after this.
      const deaf_ms = Math.max(0, performance.now() - last_ms - EXPIRY_MS - pause_ms - LATE_MS)
      last_ms = performance.now()
      await this.#orTrouble(trouble, async () => (await this.consumer(name)).expireLeases(deaf_ms))
      pause_ms = trouble.message === undefined ? 0 : longerPause(pause_ms)
      await sleep(EXPIRY_MS + pause_ms, signal)
    }
  }

  /** Reports an error once, and again when it is another one. */
  async #orTrouble<A>(trouble: Trouble, work: () => Promise<A>): Promise<A | undefined> {
    try {
      if (this.#stop.signal.aborted) return undefined
      const done = await work()
      delete trouble.message
      return done
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message !== trouble.message && !this.#stop.signal.aborted) this.#options.report(message)
      trouble.message = message
      return undefined
    }
  }
}

/** What was reported last and has not been mended. */
interface Trouble {
  message?: string
}

/** An Arrow IPC stream, in pieces: a batch for each group, and the lease in the schema's metadata. */
function piecesOf({ lease, groups }: Leased, { epoch, rank }: Caller, found: readonly GroupRecord[]): Uint8Array[] {
  const named = groups.map((group) => {
    const { topic_id: _, ...rest } = numbered(group)
    return rest
  })
  const about = JSON.stringify({ lease, epoch, rank, groups: named })
  return joinEvents(groupFormed, found, new Map([['plumbline.lease', about]]))
}

const isUnknown = (name: string) =>
  new FeedRefusal(
    'unknown_consumer',
    `consumer ${name}: expected a subscription, found none; PUT /v1/consumers/${name} subscribes`,
  )
