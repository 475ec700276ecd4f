import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer, type GroupAccess, sizeOf } from '../port/consumer.ts'
import { isReplaced, topicReplaced, unequalTopics } from '../port/failure.ts'
import {
  type JoinOptions,
  type Log,
  type Member,
  type Position,
  type Producer,
  type ReadRequest,
  type ReadResult,
  type Topic,
  TopicMismatchError,
  type TopicSpec,
} from '../port/log.ts'
import { BufferedProducer } from '../port/producer.ts'
import { MemoryAppends, MemoryBroker } from './broker.ts'

/** Real time by default; a simulation passes its own. */
export interface Clock {
  now_ms(): number
  sleep(ms: number): Promise<void>
}

export interface MemoryLogOptions {
  /** Handles on one broker share one log, as processes on one folder do. */
  readonly broker?: MemoryBroker
  readonly clock?: Clock
  /** `always`: members live until they leave or the handle crashes. `poll`: they expire one session after a poll. */
  readonly heartbeats?: 'always' | 'poll'
}

/** The log in memory, for tests and simulation. Like Kafka's, its offsets have gaps: one after every transaction. */
export function memoryLog(options: MemoryLogOptions = {}): MemoryLog {
  return new MemoryLog(options.broker ?? new MemoryBroker(), options.clock ?? REAL_TIME, options.heartbeats ?? 'always')
}

const REAL_TIME: Clock = { now_ms: () => performance.now(), sleep: async (ms) => void (await sleep(ms)) }

export class MemoryLog implements Log {
  readonly address = 'memory:'
  readonly #broker: MemoryBroker
  readonly #clock: Clock
  readonly #heartbeats: 'always' | 'poll'
  readonly #members = new Map<string, Joined>()
  #state: 'open' | 'crashed' | 'closed' = 'open'

  constructor(broker: MemoryBroker, clock: Clock, heartbeats: 'always' | 'poll') {
    this.#broker = broker
    this.#clock = clock
    this.#heartbeats = heartbeats
    broker.handles.add(this)
  }

  /** Simulates a killed process: partitions are not released, open transactions never end, leases expire. */
  crash(): void {
    this.renewLeases()
    this.#state = 'crashed'
    this.#broker.handles.delete(this)
  }

  /** Heartbeats of a live process, sent only when leases are about to be checked, so that no timer runs. */
  renewLeases(): void {
    if (this.#heartbeats === 'poll') return
    for (const [id, joined] of this.#members) this.#broker.renew(joined.group, id, joined.session_ms, this.#now())
  }

  ownersChanged(group: string): void {
    for (const joined of this.#members.values()) if (joined.group === group) joined.consumer.compareOwnership()
  }

  async createTopics(topics: readonly TopicSpec[]): Promise<void> {
    this.#expectOpen()
    this.#broker.createTopics(topics)
  }

  async topics(names?: readonly string[]): Promise<readonly Topic[]> {
    const all = this.#broker.topics()
    return names === undefined ? all : all.filter(({ name }) => names.includes(name))
  }

  async beginningOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#broker.partitions(topic).map((partition) => partition.begin)
  }

  async endOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#broker.partitions(topic).map((partition) => partition.end)
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    this.#expectOpen()
    return this.#broker.read(request, true, sizeOf)
  }

  async deleteBefore(topic: string, partition: number, before: bigint): Promise<void> {
    this.#expectOpen()
    this.#broker.deleteBefore(topic, partition, before)
  }

  async producer(options: { readonly transactional_id: string }): Promise<Producer> {
    this.#expectOpen()
    const id = options.transactional_id
    const epoch = this.#broker.fence(id)
    return new BufferedProducer<MemoryAppends>(id, {
      begin: () => new MemoryAppends(this.#broker),
      commit: async (appends, progress) => {
        this.#expectOpen()
        this.#broker.commit({ id, epoch, appends, progress, now_ms: () => this.#now(), appended_ms: Date.now() })
      },
      abort: (appends) => this.#broker.skip(appends),
    })
  }

  async join(options: JoinOptions): Promise<Member> {
    this.#expectOpen()
    const { group, topics, session_timeout_ms } = options
    const id = this.#broker.nextMember()
    const counts = topics.map((topic) => this.#broker.partitions(topic).length)
    const partitions = counts[0] ?? 0
    if (counts.some((count) => count !== partitions)) {
      throw new TopicMismatchError(unequalTopics(group, topics, counts))
    }
    const enter = () => this.#broker.enter({ group, member: id, topics, partitions, session_timeout_ms }, this.#now())
    enter()
    const access: GroupAccess = {
      owned: async () => {
        this.#expectOpen()
        this.#broker.renewLeases()
        enter()
        return this.#broker.owned(group, id)
      },
      owns: () => this.#broker.owned(group, id),
      start: async (topic, partition) => this.#broker.start(group, topic, partition),
      ids: async () => new Map(topics.map((topic) => [topic, this.#broker.topicId(topic)])),
      read: (request, at_least_one) => {
        const { topic, topic_id: was } = request
        const replaced = { topic, was, is: this.#broker.topicId(topic) }
        if (isReplaced(replaced)) throw topicReplaced(this.address, group, replaced)
        return this.#broker.read(request, at_least_one, sizeOf)
      },
      changed: (wait_ms) => this.#broker.changed(this.#clock.sleep(wait_ms)),
      now_ms: () => this.#now(),
      leave: async () => {
        this.#members.delete(id)
        if (this.#state === 'open') this.#broker.leave(group, id)
      },
    }
    const consumer = new Consumer(id, group, topics, access)
    this.#members.set(id, { group, session_ms: session_timeout_ms, consumer })
    return consumer
  }

  async committed(group: string): Promise<readonly Position[]> {
    return this.#broker.committed(group)
  }

  async close(): Promise<void> {
    if (this.#state !== 'open') return
    for (const [id, joined] of this.#members) this.#broker.leave(joined.group, id)
    this.#members.clear()
    this.#state = 'closed'
    this.#broker.handles.delete(this)
  }

  #now(): number {
    return this.#clock.now_ms()
  }

  #expectOpen(): void {
    if (this.#state !== 'open') throw new Error(`${this.address} this handle is ${this.#state}: open another one.`)
  }
}

interface Joined {
  readonly group: string
  readonly session_ms: number
  readonly consumer: Consumer
}
