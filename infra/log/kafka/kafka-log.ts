import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import { Consumer, type GroupAccess } from '../port/consumer.ts'
import { isReplaced, otherTopics, topicMismatch, topicReplaced, unequalTopics } from '../port/failure.ts'
import {
  type JoinOptions,
  type KeptTopics,
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
import { parseKafkaAddress } from './address.ts'
import { topicsOfMember } from './assigner.ts'
import { BufferedAppends } from './buffered-appends.ts'
import { Connection } from './connection.ts'
import { Fetcher } from './fetcher.ts'
import type { DescribedGroup } from './kafkajs.ts'
import { keepTopics } from './keep-topics.ts'
import { MEMBERSHIPS, Membership } from './membership.ts'
import { committedOf, offsetsOf } from './offsets.ts'
import { Reader } from './reader.ts'
import { Signal } from './signal.ts'
import { Starts } from './starts.ts'
import { createTopics, deleteRecords, listTopics } from './topics.ts'
import { Transactions } from './transaction.ts'

export interface KafkaLogOptions {
  /** `kafka://host:port[,host:port…][/prefix]`; credentials are read from the environment. */
  readonly address: string
  readonly env?: NodeJS.ProcessEnv
  /** `always`: a member lives as long as its process. `poll`: it must poll once per session. */
  readonly heartbeats?: 'always' | 'poll'
  /** How often a member sends a heartbeat, which also reports a rebalance; at most a third of the session. */
  readonly heartbeat_ms?: number
  /** The broker aborts a transaction that has been open for this long. At most the members' session. */
  readonly transaction_timeout_ms?: number
}

/**
 * The log of a Kafka cluster.
 *
 * @throws RangeError when the address or the environment cannot be understood.
 * @throws LogUnreachableError, LogDeniedError within seconds.
 */
export async function openKafkaLog(options: KafkaLogOptions): Promise<Log> {
  const address = parseKafkaAddress(options.address, options.env ?? process.env)
  return new KafkaLog(await Connection.open(address, CLIENT_ID), options)
}

const CLIENT_ID = `plumbline/${hostname()}/${process.pid}`
const HEARTBEAT_MS = 1_000
const TRANSACTION_MS = 10_000
/** How often a member checks that its topics still have the same ids and partition counts. */
const LOOK_MS = 5_000

class KafkaLog implements Log {
  readonly address: string
  readonly #connection: Connection
  readonly #options: KafkaLogOptions
  readonly #reader: Reader
  readonly #members = new Set<Member>()
  readonly #producers = new Set<{ producer: Producer; connection: Connection }>()
  #closed = false

  constructor(connection: Connection, options: KafkaLogOptions) {
    this.address = connection.address.text
    this.#connection = connection
    this.#options = options
    this.#reader = new Reader(connection)
  }

  async createTopics(topics: readonly TopicSpec[]): Promise<void> {
    this.#expectOpen()
    await createTopics(this.#connection, topics)
  }

  async topics(names?: readonly string[]): Promise<readonly Topic[]> {
    this.#expectOpen()
    return await listTopics(this.#connection, names)
  }

  async beginningOffsets(topic: string): Promise<readonly bigint[]> {
    this.#expectOpen()
    return await offsetsOf(this.#connection, this.#prefixed(topic), 'beginning')
  }

  async endOffsets(topic: string): Promise<readonly bigint[]> {
    this.#expectOpen()
    return await offsetsOf(this.#connection, this.#prefixed(topic), 'stable')
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    this.#expectOpen()
    return await this.#reader.read({ ...request, topic: this.#prefixed(request.topic) })
  }

  async deleteBefore(topic: string, partition: number, before: bigint): Promise<void> {
    const name = this.#prefixed(topic)
    const [begin, end] = [await this.beginningOffsets(topic), await this.endOffsets(topic)]
    const below = before < (end[partition] ?? 0n) ? before : (end[partition] ?? 0n)
    if (below > (begin[partition] ?? 0n)) await deleteRecords(this.#connection, name, partition, below)
    this.#reader.forget(name, partition)
  }

  async keepForEver(topics: readonly string[]): Promise<KeptTopics> {
    const there = await this.topics(topics)
    return await keepTopics(
      this.#connection,
      there.map(({ name }) => this.#prefixed(name)),
    )
  }

  async producer(options: { readonly transactional_id: string }): Promise<Producer> {
    this.#expectOpen()
    const { transactional_id } = options
    // A separate connection: the broker answers the requests of a connection in turn, and a commit waits for disks.
    const connection = await Connection.open(this.#connection.address, CLIENT_ID)
    try {
      const transactions = await Transactions.open({
        connection,
        transactional_id: this.#prefixed(transactional_id),
        transaction_timeout_ms: this.#options.transaction_timeout_ms ?? TRANSACTION_MS,
        hasMembers: async (group) => (await this.#membersOf(group)).length > 0,
      })
      const producer = new BufferedProducer<BufferedAppends>(transactional_id, {
        begin: () => new BufferedAppends(),
        commit: (appends, progress) => transactions.commit(appends, progress),
        abort: () => undefined,
      })
      const held = { producer, connection }
      this.#producers.add(held)
      return {
        begin: () => producer.begin(),
        close: async () => {
          await producer.close()
          this.#producers.delete(held)
          await connection.close()
        },
      }
    } catch (error) {
      await connection.close()
      throw error
    }
  }

  async join(options: JoinOptions): Promise<Member> {
    this.#expectOpen()
    const { group, topics, session_timeout_ms } = options
    const names = topics.map((topic) => this.#prefixed(topic))
    const partitions = await this.#partitionsOf(group, topics)
    await this.#expectSameTopics(group, names)
    const connection = await Connection.open(this.#connection.address, CLIENT_ID)
    const signal = new Signal()
    const fetcher = new Fetcher(connection, () => signal.give())
    const membership = new Membership(
      connection,
      {
        group,
        topics: names,
        partitions,
        session_timeout_ms,
        heartbeat_ms: Math.min(this.#options.heartbeat_ms ?? HEARTBEAT_MS, session_timeout_ms / 3),
        heartbeats: this.#options.heartbeats ?? 'always',
      },
      () => {
        member.compareOwnership()
        signal.give()
      },
    )
    const id = randomUUID()
    const starts = new Starts(connection, group)
    let looked_ms = performance.now()
    let ids: ReadonlyMap<string, string> = new Map()
    const access: GroupAccess = {
      owned: async () => {
        // Let the event loop run, so that polling without a pause does not block answers and heartbeats.
        await turn()
        const owned = await membership.owned()
        fetcher.keep(owned)
        starts.of(owned)
        if (performance.now() - looked_ms > LOOK_MS) {
          looked_ms = performance.now()
          await this.#look(connection, group, topics, partitions, ids)
        }
        return owned
      },
      owns: () => membership.owns,
      ids: async () => {
        ids = await this.#look(connection, group, topics, partitions)
        return ids
      },
      start: (topic, partition) => starts.at(topic, partition),
      read: (request, at_least_one) => {
        if (membership.moving) return { records: [], bytes: 0, next: request.from }
        return fetcher.take({ ...request, topic: this.#prefixed(request.topic) }, at_least_one)
      },
      changed: (wait_ms) => signal.wait(wait_ms),
      interrupts: () => membership.interrupts,
      now_ms: () => performance.now(),
      leave: async () => {
        this.#members.delete(member)
        MEMBERSHIPS.delete(id)
        fetcher.close()
        await membership.leave(this.#connection)
        await connection.close()
      },
    }
    const member = new Consumer(id, group, [...topics], access)
    MEMBERSHIPS.set(id, membership)
    this.#members.add(member)
    await membership.owned()
    return member
  }

  async committed(group: string): Promise<readonly Position[]> {
    this.#expectOpen()
    return await committedOf(this.#connection, group)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    for (const member of [...this.#members]) await member.leave()
    this.#closed = true
    for (const { producer, connection } of this.#producers) {
      await producer.close()
      await connection.close()
    }
    await this.#connection.close()
  }

  async #partitionsOf(group: string, topics: readonly string[]): Promise<number> {
    const counts: number[] = []
    for (const topic of topics) {
      const name = this.#prefixed(topic)
      counts.push(
        (await this.#connection.attempt(`looking for topic ${topic}`, () => this.#connection.leaders(name))).length,
      )
    }
    if (counts.every((count) => count === counts[0])) return counts[0] ?? 0
    throw new TopicMismatchError(unequalTopics(group, topics, counts))
  }

  /**
   * The current ids of the topics.
   * @throws TopicMismatchError when partitions were added: keys would be written to other partitions than their state.
   * @throws TopicReplacedError when an id has changed.
   */
  async #look(
    connection: Connection,
    group: string,
    topics: readonly string[],
    expected: number,
    before: ReadonlyMap<string, string> = new Map(),
  ): Promise<ReadonlyMap<string, string>> {
    const found = await connection.attempt('looking at the topics', () =>
      connection.metadata(topics.map((topic) => this.#prefixed(topic))),
    )
    const ids = new Map<string, string>()
    for (const { topic: name, code, id, partitions } of found.topics) {
      if (code !== 0) continue
      const topic = connection.shown(name)
      const replaced = { topic, was: before.get(topic) ?? '', is: id }
      if (isReplaced(replaced)) throw topicReplaced(this.address, group, replaced)
      if (partitions.length !== expected) {
        throw new TopicMismatchError(topicMismatch(this.address, topic, expected, partitions.length))
      }
      ids.set(topic, id)
    }
    return ids
  }

  async #membersOf(group: string): Promise<DescribedGroup['members']> {
    const groupId = this.#prefixed(group)
    return await this.#connection.attempt(`looking at group ${group}`, async () => {
      const coordinator = await this.#connection.coordinator('group', groupId)
      const { groups } = await coordinator.describeGroups({ groupIds: [groupId] })
      return groups[0]?.members ?? []
    })
  }

  async #expectSameTopics(group: string, names: readonly string[]): Promise<void> {
    for (const { memberMetadata } of await this.#membersOf(group)) {
      const theirs = topicsOfMember(memberMetadata)
      if (theirs.length === 0 || theirs.join() === names.join()) continue
      const shown = (topics: readonly string[]) => topics.map((topic) => this.#connection.shown(topic)).join(', ')
      throw new Error(otherTopics(group, shown(theirs), shown(names)))
    }
  }

  #prefixed(name: string): string {
    return this.#connection.address.prefix + name
  }

  #expectOpen(): void {
    if (this.#closed) throw new Error(`${this.address}: this handle is closed: open another one.`)
  }
}
