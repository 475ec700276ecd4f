import { setTimeout as sleep } from 'node:timers/promises'
import { fencedClaim, firstReplaced, groupHasMembers, topicReplaced, unknownPartition } from '../port/failure.ts'
import { CommitOutcomeUnknownError, FencedError, UnknownTopicError } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import { FencedProducerError, type Progress } from '../port/producer.ts'
import { encodeSeen } from '../port/seen.ts'
import type { BatchBuilder } from './batch-builder.ts'
import type { BufferedAppends } from './buffered-appends.ts'
import type { Connection } from './connection.ts'
import { isTemporary, kindOf, rootOf, told } from './errors.ts'
import type { Broker } from './kafkajs.ts'
import { MEMBERSHIPS } from './membership.ts'
import { type PartitionBatch, produce } from './records-protocol.ts'
import {
  initProducerId,
  NO_MEMBER,
  type ProducerIdentity,
  type Proof,
  type TopicOffsets,
  txnOffsetCommit,
} from './transaction-protocol.ts'

const REQUEST_BYTES = 8 * 1024 * 1024
/** How long ending a transaction is retried before its outcome counts as unknown. */
const END_MS = 30_000
const PRODUCE_MS = 10_000
const MAX_SEQUENCE = 2 ** 31

export interface Committing {
  readonly connection: Connection
  readonly transactional_id: string
  readonly transaction_timeout_ms: number
  /** Whether a group has members now. */
  readonly hasMembers: (group: string) => Promise<boolean>
}

/** The transactions of one transactional id, one after the other. */
export class Transactions {
  readonly #options: Committing
  #identity: ProducerIdentity
  #sequences = new Map<string, number>()
  /** The last transaction failed, and how much of it the brokers have is unclear: initialise the id again first. */
  #broken = false

  private constructor(options: Committing, identity: ProducerIdentity) {
    this.#options = options
    this.#identity = identity
  }

  /** Fences earlier producers of the id, and ends their open transactions. */
  static async open(options: Committing): Promise<Transactions> {
    return new Transactions(options, await identityOf(options))
  }

  async commit(appends: BufferedAppends, progress: Progress): Promise<void> {
    const { connection } = this.#options
    const claimed = progress.claimed.filter(({ positions }) => positions.length > 0)
    const standalone = progress.standalone.filter(({ positions }) => positions.length > 0)
    const partitions = [...appends.batches.values()]
    if (partitions.length + claimed.length + standalone.length === 0) return
    for (const { topic, partition } of partitions) await this.#expectPartition(topic, partition)
    for (const { group } of standalone) {
      if (await this.#options.hasMembers(group)) throw new Error(groupHasMembers(group))
    }
    if (this.#broken) await this.#takeUp()
    this.#broken = true
    try {
      if (partitions.length > 0) await this.#addPartitions(partitions)
      await settled([
        this.#send(partitions),
        this.#refuseReplaced(claimed),
        (async () => {
          for (const { group, member, epochs, positions } of claimed) {
            const membership = MEMBERSHIPS.get(member)
            if (membership === undefined) throw new FencedError(fencedClaim(group, member, epochs[0]?.[0] ?? 0))
            if (membership.address !== connection.address.text) {
              throw new Error(`producer ${this.#options.transactional_id}: this claim is another log's.`)
            }
            await this.#positions(group, positions, (after) => membership.proof(epochs, after))
          }
          for (const { group, positions } of standalone) await this.#positions(group, positions, async () => NO_MEMBER)
        })(),
      ])
    } catch (error) {
      await this.#abort()
      throw this.#told(error, 'committing')
    }
    await this.#end(connection)
    this.#broken = false
  }

  async #expectPartition(topic: string, partition: number): Promise<void> {
    const { connection } = this.#options
    const count = (
      await connection.attempt(`looking for topic ${topic}`, () => connection.leaders(this.#prefixed(topic)))
    ).length
    if (partition >= 0 && partition < count) return
    throw new UnknownTopicError(unknownPartition(connection.address.text, topic, partition, count))
  }

  async #addPartitions(appended: readonly { readonly topic: string; readonly partition: number }[]): Promise<void> {
    const topics = [...Map.groupBy(appended, ({ topic }) => topic)].map(([topic, parts]) => ({
      topic: this.#prefixed(topic),
      partitions: parts.map(({ partition }) => partition),
    }))
    await this.#asked('beginning a transaction', (coordinator) =>
      coordinator.addPartitionsToTxn({ ...this.#ids, topics }),
    )
  }

  /** Batches of one partition are sent one after the other, those of different partitions together. */
  async #send(
    appended: readonly {
      readonly topic: string
      readonly partition: number
      readonly builders: readonly BatchBuilder[]
    }[],
  ): Promise<void> {
    const { connection, transactional_id } = this.#options
    const now_ms = Date.now()
    const waiting = appended.map(({ topic, partition, builders }) => ({ topic, partition, builders: [...builders] }))
    while (waiting.some(({ builders }) => builders.length > 0)) {
      const finishing: Promise<PartitionBatch>[] = []
      let bytes = 0
      for (const { topic, partition, builders } of waiting) {
        const builder = builders[0]
        if (builder === undefined || (bytes > 0 && bytes + builder.bytes > REQUEST_BYTES)) continue
        builders.shift()
        bytes += builder.bytes
        const sequence = this.#take(topic, partition, builder.count)
        const { id: producer, epoch } = this.#identity
        const { compression } = connection.address
        const finished = builder.finish({ producer, epoch, sequence, now_ms, compression })
        finishing.push(finished.then((batch) => ({ topic: this.#prefixed(topic), partition, batch })))
      }
      const round = await Promise.all(finishing)
      await connection.attempt('appending', async () => {
        const byLeader = new Map<Broker, PartitionBatch[]>()
        for (const one of round) {
          const leader = await connection.leader(one.topic, one.partition)
          byLeader.set(leader, [...(byLeader.get(leader) ?? []), one])
        }
        await settled([...byLeader].map(([leader, batches]) => produce(leader, transactional_id, batches, PRODUCE_MS)))
      })
    }
  }

  #take(topic: string, partition: number, count: number): number {
    const place = partitionName({ topic, partition })
    const sequence = this.#sequences.get(place) ?? 0
    this.#sequences.set(place, (sequence + count) % MAX_SEQUENCE)
    return sequence
  }

  async #positions(
    group: string,
    positions: Progress['claimed'][number]['positions'],
    proofAfter: (refused: Proof | undefined) => Promise<Proof>,
  ): Promise<void> {
    const { connection } = this.#options
    const groupId = this.#prefixed(group)
    await this.#asked('adding positions', (coordinator) => coordinator.addOffsetsToTxn({ ...this.#ids, groupId }))
    const topics: TopicOffsets[] = [...Map.groupBy(positions, ({ topic }) => topic)].map(([topic, parts]) => ({
      topic: this.#prefixed(topic),
      partitions: parts.map(({ partition, next, seen }) => ({
        partition,
        offset: next,
        metadata: seen === undefined ? null : encodeSeen(seen),
      })),
    }))
    for (let refused: Proof | undefined; ; ) {
      const proof = await proofAfter(refused)
      try {
        return await connection.attempt(`committing positions of group ${group}`, async () => {
          await txnOffsetCommit(await connection.coordinator('group', groupId), this.#identity, groupId, proof, topics)
        })
      } catch (error) {
        const type = typeBehind(error)
        if (type !== 'ILLEGAL_GENERATION' && type !== 'UNKNOWN_MEMBER_ID' && type !== 'REBALANCE_IN_PROGRESS')
          throw error
        refused = proof
      }
    }
  }

  /** The broker stores offsets under the topic's name, which a recreated topic shares. So the ids are compared here. */
  async #refuseReplaced(claimed: Progress['claimed']): Promise<void> {
    const { connection } = this.#options
    const names = new Set(claimed.flatMap(({ positions }) => positions.map(({ topic }) => this.#prefixed(topic))))
    if (names.size === 0) return
    const { topics } = await connection.attempt('looking at the topics', () => connection.metadata([...names]))
    const ids = new Map(topics.map(({ topic, id }) => [topic, id]))
    for (const { group, positions } of claimed) {
      const replaced = firstReplaced(positions, (topic) => ids.get(this.#prefixed(topic)))
      if (replaced !== undefined) throw topicReplaced(connection.address.text, group, replaced)
    }
  }

  async #abort(): Promise<void> {
    const { connection } = this.#options
    await connection
      .attempt(
        'aborting',
        async () => {
          const coordinator = await connection.coordinator('transaction', this.#options.transactional_id)
          await coordinator.endTxn({ ...this.#ids, transactionResult: false })
        },
        5_000,
      )
      // It is aborted when it times out, or by the next producer of this id.
      .catch(() => undefined)
  }

  /**
   * The broker answers when the decision is durable, and writes its markers after that. A second request succeeds only
   * once they are written: then every reader sees the transaction, and this resolves.
   */
  async #end(connection: Connection): Promise<void> {
    const start_ms = performance.now()
    let decided = false
    let lost_answer = false
    for (let wait_ms = 1; ; wait_ms = Math.min(200, wait_ms * 2)) {
      try {
        const coordinator = await connection.coordinator('transaction', this.#options.transactional_id)
        await coordinator.endTxn({ ...this.#ids, transactionResult: true })
        if (decided) return
        decided = true
        continue
      } catch (error) {
        const kind = kindOf(error)
        const tried_ms = performance.now() - start_ms
        if (decided && !(isTemporary(kind) && tried_ms < END_MS)) return
        if (!isTemporary(kind)) {
          if (!lost_answer) throw this.#told(error, 'committing')
          throw this.#unknown(error, tried_ms)
        }
        // The broker may or may not have received this request; repeating it is harmless.
        if (kind === 'away' || typeBehind(error) === 'UNKNOWN') lost_answer = true
        if (tried_ms > END_MS || connection.closed) throw this.#unknown(error, tried_ms)
        await connection.forget(error)
      }
      await sleep(wait_ms)
    }
  }

  #unknown(error: unknown, tried_ms: number): CommitOutcomeUnknownError {
    const { message } = told(this.#options.connection.address.text, 'committing', error, tried_ms)
    return new CommitOutcomeUnknownError(
      `${message} Whether the transaction of producer ${this.#options.transactional_id} was committed is not known; look at the committed positions.`,
      { cause: error },
    )
  }

  /** Resumes the id after a failed transaction; does not fence a later producer, but is fenced by one. */
  async #takeUp(): Promise<void> {
    try {
      this.#identity = await identityOf(this.#options, this.#identity)
    } catch (error) {
      throw this.#told(error, 'taking up the producer again')
    }
    this.#sequences.clear()
    this.#broken = false
  }

  async #asked(what: string, ask: (coordinator: Broker) => Promise<unknown>): Promise<void> {
    const { connection, transactional_id } = this.#options
    await connection.attempt(what, async () => {
      await ask(await connection.coordinator('transaction', transactional_id))
    })
  }

  get #ids(): { transactionalId: string; producerId: string; producerEpoch: number } {
    const { transactional_id, id, epoch } = this.#identity
    return { transactionalId: transactional_id, producerId: String(id), producerEpoch: epoch }
  }

  #prefixed(name: string): string {
    return this.#options.connection.address.prefix + name
  }

  #told(error: unknown, what: string): Error {
    const { connection, transactional_id } = this.#options
    const found = told(connection.address.text, `${what} (producer ${transactional_id})`, error)
    if (found instanceof FencedError && kindOf(found.cause) === 'fenced') {
      return new FencedProducerError(found.message, { cause: found.cause })
    }
    return found
  }
}

async function identityOf(options: Committing, before?: ProducerIdentity): Promise<ProducerIdentity> {
  const { connection, transactional_id, transaction_timeout_ms } = options
  return await connection.attempt(`opening producer ${transactional_id}`, async () => {
    const coordinator = await connection.coordinator('transaction', transactional_id)
    return await initProducerId(coordinator, transactional_id, transaction_timeout_ms, before)
  })
}

function typeBehind(error: unknown): string | undefined {
  return (
    rootOf(error).type ?? (error instanceof Error && error.cause !== undefined ? rootOf(error.cause).type : undefined)
  )
}

/** Waits for all, then throws the first failure, so that nothing still runs when the caller aborts. */
async function settled(all: readonly Promise<unknown>[]): Promise<void> {
  const ended = await Promise.allSettled(all)
  const failed = ended.find((one) => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
