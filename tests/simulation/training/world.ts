import { gunzipSync, gzipSync } from 'node:zlib'
import { type Random, random } from '../../../environments/tower/random.ts'
import { type Blobs, BlobsAwayError } from '../../../infra/blobs/blobs.ts'
import { memoryBlobs } from '../../../infra/blobs/memory.ts'
import { MemoryBroker } from '../../../infra/log/memory/broker.ts'
import { memoryLog } from '../../../infra/log/memory/memory-log.ts'
import { topicsOf } from '../../../infra/runtime/state/topics.ts'
import { sleep } from '../../../infra/sleep.ts'
import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { groupFormed } from '../../../schemas/events/rollout.ts'
import { encodeEvent } from '../../../schemas/wire/codec.ts'
import { homesOf } from '../../../schemas/wire/routing.ts'
import { Feed } from '../../../sinks/feed/feed.ts'
import type { Packing } from '../../../sinks/feed/packing.ts'
import { catalogue } from '../../../streams/vocabulary.ts'
import { formed } from '../../../testing/feed-log.ts'
import { published } from '../../../testing/published-model.ts'
import type { FaultKind } from '../fault-kinds.ts'
import type { Faults } from '../faults.ts'
import type { Scheduler } from '../scheduler.ts'
import { type Conduct, RIGHT, SimulatedLog } from '../simulated-log.ts'
import { SimulatedProcess } from '../simulated-process.ts'
import type { Turn } from '../turn.ts'
import { Attempt, type AttemptEnd, Rank, type TrainerBug, type TrainerHost } from './attempt.ts'
import { Book } from './book.ts'
import { LINEAGE, type TrainingInputs } from './inputs.ts'
import { type FeedProcess, isTrouble, Network } from './network.ts'

const WORLD = { name: 'the world', is_worker: false, pace: 1, state: 'running' as const }
const MOST_FEEDS = 3
export const VOCABULARY = catalogueOf(catalogue)

/** Snapshots are packed without threads, whose time no scheduler decides. */
const AT_ONCE: Packing = {
  pack: async (bytes) => gzipSync(bytes, { level: 1 }),
  unpack: async (bytes, most) => gunzipSync(bytes, { maxOutputLength: most }),
}

/** A bug of a feed or a trainer, which the schedules must find. */
export interface TrainingPlant {
  readonly conduct?: (broker: MemoryBroker) => Conduct
  readonly trainer?: TrainerBug
}

/** One log, feeds of one consumer, and trainers of one run. */
export class TrainingWorld {
  readonly inputs: TrainingInputs
  readonly broker = new MemoryBroker('simulated')
  readonly blobs = memoryBlobs()
  readonly book: Book
  readonly violations: string[] = []
  readonly feeds: FeedProcess[] = []
  readonly #scheduler: Scheduler
  readonly #faults: Faults
  readonly #random: Random
  readonly #conduct: Conduct
  readonly #host: TrainerHost
  readonly #published = new Map<string, number>()
  #attempts: Attempt[] = []
  #alarms = 0
  #started = 0
  #to_form: number
  #is_calm = false
  #blobs_away = false
  is_done = false

  constructor(options: {
    readonly seed: string
    readonly inputs: TrainingInputs
    readonly scheduler: Scheduler
    readonly faults: Faults
    readonly plant: TrainingPlant
  }) {
    const { seed, inputs, scheduler, faults, plant } = options
    this.inputs = inputs
    this.#scheduler = scheduler
    this.#faults = faults
    this.#conduct = plant.conduct?.(this.broker) ?? RIGHT
    this.#random = random('simulation', 'training world', seed)
    this.#to_form = inputs.groups.length
    const breaks = (what: string) => void this.violations.push(what)
    const { partitions } = inputs
    this.book = new Book({ broker: this.broker, vocabulary: VOCABULARY, partitions, breaks })
    this.broker.createTopics(topicsOf(catalogue, [], partitions))
    this.#host = {
      ...{ inputs, book: this.book, random: this.#random, bug: plant.trainer, breaks },
      network: new Network({ scheduler, random: this.#random, feeds: () => this.feeds, breaks }),
      isOver: () => this.#to_form === 0,
      publish: (lineage, step) => this.#publish(lineage, step),
      lastOf: (lineage) => this.#published.get(lineage),
    }
  }

  /** What a reader of the log needs. Its calls have no faults. */
  get reading() {
    const log = memoryLog({ broker: this.broker })
    return { log, blobs: this.blobs, vocabulary: VOCABULARY, partitions: this.inputs.partitions, packing: AT_ONCE }
  }

  begin(): void {
    this.#startFeed()
    this.#scheduler.run(WORLD, () => void this.#form())
    this.#startTrainer()
  }

  /** No faults from now on. */
  calm(): void {
    this.#is_calm = true
  }

  strike(kind: FaultKind, { owner }: Turn): 'struck' | 'goes on' {
    const host = this.feeds.find(({ process }) => process === owner)
    const attempt = this.#attempts.find(({ ranks }) => ranks.includes(owner as Rank))
    if (kind === 'wall clock') this.#scheduler.time.setWall(this.#faults.length_ms(-2_000, 2_000))
    if (kind === 'blobs away') {
      this.#blobs_away = true
      this.#alarm(this.#faults.length_ms(10, 900), () => {
        this.#blobs_away = false
      })
    }
    if (host !== undefined) return this.#strikeFeed(kind, host)
    if (attempt === undefined) return 'goes on'
    if (kind === 'crash') {
      this.#kill(owner as Rank)
      this.#endAttempt(attempt, 'restart')
      return 'struck'
    }
    if (kind === 'stall') {
      owner.state = 'stalled'
      this.#alarm(this.#faults.length_ms(10, 4_000), () => {
        if (owner.state === 'stalled') owner.state = 'running'
      })
      return 'struck'
    }
    return 'goes on'
  }

  /** For a message. */
  describe(): string {
    const feeds = this.feeds.map(({ process }) => `${process.name} ${process.state}`)
    const ranks = this.#attempts.flatMap(({ ranks }) => ranks.map(({ name, state }) => `${name} ${state}`))
    return `${[...feeds, ...ranks].join(', ')}; ${JSON.stringify(this.book.state.counts)} of ${this.book.entries.size}; ${this.#alarms} alarms`
  }

  /** Ends every process, as a power cut does. */
  end(): void {
    for (const { process } of this.feeds) process.kill()
    for (const { ranks } of this.#attempts) for (const rank of ranks) this.#kill(rank)
  }

  #strikeFeed(kind: FaultKind, host: FeedProcess): 'struck' | 'goes on' {
    const { process } = host
    if (kind === 'crash') {
      process.kill()
      this.#scheduler.time.drop(process)
      this.#alarm(this.#faults.length_ms(0, 100), () => this.#startFeed())
      return 'struck'
    }
    if (kind === 'stall' || kind === 'stall and substitute') {
      process.stall()
      this.#alarm(this.#faults.length_ms(10, 4_000), () => process.goOn())
      if (kind === 'stall and substitute') this.#startFeed()
      return 'struck'
    }
    if (kind === 'newcomer') this.#startFeed()
    if (kind === 'restart' && !host.is_closing) {
      host.is_closing = true
      this.#scheduler.run(process, () => {
        host.feed.close().then(
          () => this.#endFeed(process),
          (error: unknown) => this.violations.push(`${process.name}: close failed: ${error}`),
        )
      })
      this.#alarm(this.#faults.length_ms(0, 400), () => this.#startFeed())
    }
    return 'goes on'
  }

  get #live(): FeedProcess[] {
    return this.feeds.filter(({ process }) => process.state !== 'dead')
  }

  /** Somebody looks after the feeds: one that another has fenced is ended after a while, and one always runs. */
  #endFeedLater(process: SimulatedProcess): void {
    this.#alarm(this.#faults.length_ms(500, 3_000), () => this.#endFeed(process))
  }

  #endFeed(process: SimulatedProcess): void {
    process.kill()
    this.#scheduler.time.drop(process)
    if (this.#live.length === 0) this.#startFeed()
  }

  #startFeed(): void {
    if (this.#live.length >= MOST_FEEDS) return
    for (const { process } of this.#live) this.#endFeedLater(process)
    const { time } = this.#scheduler
    const clock = { now_ms: () => time.now_ms, sleep: () => new Promise<void>(() => {}) }
    const handle = memoryLog({ broker: this.broker, clock, heartbeats: 'always' })
    const name = `feed ${this.#started++}`
    const process = new SimulatedProcess({ name, is_worker: true, pace: 1, handle, broker: this.broker })
    const log = new SimulatedLog({
      ...{ inner: handle, broker: this.broker, owner: process, scheduler: this.#scheduler, conduct: this.#conduct },
      onPolled: () => {},
      late: (arrive) => this.#alarm(this.#faults.length_ms(0, 60), arrive),
    })
    this.#scheduler.run(process, () => {
      const feed = new Feed({
        ...{ log, blobs: this.#conduct.blobs(this.#blobsOf(process)), vocabulary: VOCABULARY, packing: AT_ONCE },
        ...{ partitions: this.inputs.partitions, snapshot_events: this.inputs.snapshot_events },
        report: (message) => this.#told(process, message),
      })
      this.feeds.push({ process, feed, is_closing: false })
    })
  }

  /** A feed reports what the simulation has done to it, and what another feed did. Anything else is a fault. */
  #told(process: SimulatedProcess, message: string): void {
    const { name } = process
    this.#scheduler.note(`${name} reports something`)
    if (message.includes('does the same work')) this.#endFeedLater(process)
    else if (!isTrouble(new Error(message))) this.violations.push(`${name} reports: ${message}`)
  }

  #blobsOf(owner: SimulatedProcess): Blobs {
    const call = async (what: string) => {
      const kinds = { may_fail: true, is_delicate: true, needs_blobs: true }
      const fault = await this.#scheduler.turn(owner, what, kinds)
      if (this.#blobs_away) throw new BlobsAwayError(`simulated: simulated: ${what}: the store is away`)
      if (fault === 'call failed') throw new Error(`simulated: simulated: ${what} failed`)
    }
    return {
      has: (ref) => this.blobs.has(ref),
      put: async (bytes, media_type) => {
        await call('put a snapshot')
        return await this.blobs.put(bytes, media_type)
      },
      get: async (ref) => {
        await call('get a snapshot')
        return await this.blobs.get(ref)
      },
    }
  }

  #startTrainer(): void {
    const { inputs } = this
    const is_over = this.#to_form === 0 && this.#is_calm
    const world_size = is_over ? 1 : this.#random.integer(1, inputs.most_ranks)
    const attempt = new Attempt(`attempt ${this.#attempts.length}`, world_size)
    this.#attempts.push(attempt)
    if (!this.#is_calm) this.#alarm(this.#random.integer(200, 6_000), () => this.#preempt(attempt))
    for (let at = 0; at < world_size; at++) {
      const rank = new Rank(this.#host, attempt, at)
      attempt.ranks.push(rank)
      this.#scheduler.run(rank, () => {
        rank.train().then(
          (end) => {
            this.#kill(rank)
            this.#endAttempt(attempt, end)
          },
          (error: unknown) => this.violations.push(`${rank.name} failed: ${(error as Error).stack ?? error}`),
        )
      })
    }
  }

  /** A machine that is lent is taken back: all ranks at once. */
  #preempt(attempt: Attempt): void {
    if (this.#is_calm || attempt.has_ended) return
    for (const rank of attempt.ranks) this.#kill(rank)
    this.#endAttempt(attempt, 'restart')
  }

  /** Some ranks of a trainer that is started again live on for a while, and call as the epoch that they were of. */
  #endAttempt(attempt: Attempt, end: AttemptEnd): void {
    if (attempt.has_ended) return
    attempt.has_ended = true
    const kill = () => {
      for (const rank of attempt.ranks) this.#kill(rank)
    }
    if (this.#is_calm || end === 'done' || this.#random.uniform() < 0.6) kill()
    else this.#alarm(this.#faults.length_ms(100, 3_000), kill)
    if (end === 'done') this.is_done = true
    else this.#alarm(this.#faults.length_ms(0, 300), () => this.#startTrainer())
  }

  #kill(rank: Rank): void {
    rank.state = 'dead'
    this.#scheduler.time.drop(rank)
  }

  /** Appends groups without a fault: what forms them is checked elsewhere. */
  async #form(): Promise<void> {
    const { groups, early } = this.inputs
    await sleep(0)
    for (const [at, { group_id, task, behind }] of groups.entries()) {
      if (at >= early) await sleep(this.#random.integer(0, 400))
      const last = this.#published.get(LINEAGE) ?? 0
      const of = behind === null ? {} : { version: Math.max(0, last - behind), lineage: LINEAGE }
      const time = new Date(Date.UTC(2026, 0, 1) + at * 1_000).toISOString()
      await this.#append(groupFormed, formed(group_id, { task, time, ...of }) as unknown as Event)
      this.#to_form--
    }
  }

  async #publish(lineage: string, version: number): Promise<void> {
    if (version <= (this.#published.get(lineage) ?? -1)) return
    const model = published({ model_id: `${lineage}@${version}`, lineage, version })
    this.#published.set(lineage, version)
    await this.#append(modelPublished, model as unknown as Event)
  }

  async #append(type: EventType, event: Event): Promise<void> {
    const { partitions } = this.inputs
    const producer = await memoryLog({ broker: this.broker }).producer({ transactional_id: `of ${event.id}` })
    const transaction = producer.begin()
    const { key, headers, value } = encodeEvent(type, event)
    for (const home of homesOf(type, key, partitions)) transaction.append(type.type, home, { key, headers, value })
    await transaction.commit()
  }

  #alarm(ms: number, ring: () => void): void {
    this.#alarms++
    this.#scheduler.time.start(WORLD, ms, () => {
      this.#alarms--
      ring()
    })
  }
}
