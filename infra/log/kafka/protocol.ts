import { Cursor } from './cursor.ts'
import { type Broker, type Encoder, encoder, errorName, type ProtocolRequest } from './kafkajs.ts'

/**
 * What kafkajs 2.2.4 lacks, as requests that its connections send:
 * - TxnOffsetCommit v3 (KIP-447): who commits, so that the broker refuses a former owner.
 * - OffsetFetch v7: only positions of which no transaction is open.
 * - InitProducerId v3 (KIP-360): a producer takes up its own id again without fencing a later one.
 * - Metadata v6 that says of each partition what is wrong with it, instead of failing for all when one has no leader.
 * - Produce v7 and Fetch v11 with record batches as bytes: their headers say where reading goes on.
 */

/** A broker said no. */
export class KafkaProtocolError extends Error {
  override readonly name = 'KafkaProtocolError'
  readonly type: string
  readonly topic: string | undefined
  readonly partition: number | undefined

  constructor(code: number, topic?: string, partition?: number) {
    super(errorName(code))
    this.type = errorName(code)
    this.topic = topic
    this.partition = partition
  }
}

const PRODUCE = 0
const FETCH = 1
const METADATA = 3
const OFFSET_FETCH = 9
const INIT_PRODUCER_ID = 22
const TXN_OFFSET_COMMIT = 28
const NEEDED: Readonly<Record<number, readonly [name: string, version: number]>> = {
  [PRODUCE]: ['Produce', 7],
  [FETCH]: ['Fetch', 11],
  [METADATA]: ['Metadata', 6],
  [OFFSET_FETCH]: ['OffsetFetch', 7],
  [INIT_PRODUCER_ID]: ['InitProducerId', 3],
  [TXN_OFFSET_COMMIT]: ['TxnOffsetCommit', 3],
}

/** What a broker cannot do that this driver needs, or undefined. */
export function lacking(broker: Broker): string | undefined {
  for (const [key, [name, version]] of Object.entries(NEEDED)) {
    const supported = broker.versions?.[Number(key)]?.maxVersion ?? -1
    if (supported < version) return `${name} version ${version}, it has ${supported < 0 ? 'none' : supported}`
  }
  return undefined
}

/** Who commits: the member and the generation in which it owned what it commits. */
export interface Proof {
  readonly generation: number
  readonly member: string
}

/** Of a group without members; the broker takes it from anyone, so the driver asks for members first. */
export const NO_MEMBER: Proof = { generation: -1, member: '' }

export interface TopicOffsets {
  readonly topic: string
  readonly partitions: readonly { readonly partition: number; readonly offset: bigint }[]
}

export interface ProducerIdentity {
  readonly transactional_id: string
  readonly id: bigint
  readonly epoch: number
}

export async function txnOffsetCommit(
  broker: Broker,
  producer: ProducerIdentity,
  group: string,
  proof: Proof,
  topics: readonly TopicOffsets[],
): Promise<void> {
  const answered = await send(broker, TXN_OFFSET_COMMIT, {
    encode: (to) => {
      tags(to).writeUVarIntString(producer.transactional_id).writeUVarIntString(group)
      to.writeInt64(String(producer.id)).writeInt16(producer.epoch)
      to.writeInt32(proof.generation).writeUVarIntString(proof.member).writeUVarIntString(null)
      compactArray(to, topics, ({ topic, partitions }) => {
        compactArray(to.writeUVarIntString(topic), partitions, ({ partition, offset }) =>
          tags(to.writeInt32(partition).writeInt64(String(offset)).writeInt32(-1).writeUVarIntString(null)),
        )
        tags(to)
      })
      tags(to)
    },
    decode: (from) => {
      from.skipTags()
      from.int32()
      return from.compactArray(() => {
        const topic = from.compactString() ?? ''
        const partitions = from.compactArray(() => {
          const answer = { topic, partition: from.int32(), code: from.int16() }
          from.skipTags()
          return answer
        })
        from.skipTags()
        return partitions
      })
    },
  })
  for (const { topic, partition, code } of answered.flat()) {
    if (code !== 0) throw new KafkaProtocolError(code, topic, partition)
  }
}

/** Everything that a group ever committed. @throws KafkaProtocolError UNSTABLE_OFFSET_COMMIT while a transaction holds some. */
export async function offsetFetch(broker: Broker, group: string): Promise<readonly TopicOffsets[]> {
  const answered = await send(broker, OFFSET_FETCH, {
    encode: (to) => {
      // No topics named: all; and only what is stable.
      tags(tags(to).writeUVarIntString(group).writeUVarInt(0).writeBoolean(true))
    },
    decode: (from) => {
      from.skipTags()
      from.int32()
      const topics = from.compactArray(() => {
        const topic = from.compactString() ?? ''
        const partitions = from.compactArray(() => {
          const answer = { partition: from.int32(), offset: from.int64() }
          from.int32()
          from.compactString()
          const code = from.int16()
          from.skipTags()
          return { ...answer, code }
        })
        from.skipTags()
        return { topic, partitions }
      })
      return { topics, code: from.int16() }
    },
  })
  if (answered.code !== 0) throw new KafkaProtocolError(answered.code)
  for (const { topic, partitions } of answered.topics) {
    for (const { partition, code } of partitions) if (code !== 0) throw new KafkaProtocolError(code, topic, partition)
  }
  return answered.topics
}

/** `before`: this producer's own identity, when it takes itself up again. */
export async function initProducerId(
  broker: Broker,
  transactional_id: string,
  timeout_ms: number,
  before?: ProducerIdentity,
): Promise<ProducerIdentity> {
  const answered = await send(broker, INIT_PRODUCER_ID, {
    encode: (to) => {
      tags(to).writeUVarIntString(transactional_id).writeInt32(timeout_ms)
      tags(to.writeInt64(String(before?.id ?? -1)).writeInt16(before?.epoch ?? -1))
    },
    decode: (from) => {
      from.skipTags()
      from.int32()
      return { code: from.int16(), id: from.int64(), epoch: from.int16() }
    },
  })
  if (answered.code !== 0) throw new KafkaProtocolError(answered.code)
  return { transactional_id, id: answered.id, epoch: answered.epoch }
}

/** One record batch for one partition. */
export interface PartitionBatch {
  readonly topic: string
  readonly partition: number
  readonly batch: Buffer
}

const ALL_REPLICAS = -1

export async function produce(
  broker: Broker,
  transactional_id: string,
  batches: readonly PartitionBatch[],
  timeout_ms: number,
): Promise<void> {
  const byTopic = Map.groupBy(batches, ({ topic }) => topic)
  const answered = await send(broker, PRODUCE, {
    encode: (to) => {
      to.writeString(transactional_id).writeInt16(ALL_REPLICAS).writeInt32(timeout_ms).writeInt32(byTopic.size)
      for (const [topic, partitions] of byTopic) {
        to.writeString(topic).writeInt32(partitions.length)
        for (const { partition, batch } of partitions) {
          to.writeInt32(partition).writeInt32(batch.length).writeBuffer(batch)
        }
      }
    },
    decode: (from) =>
      from
        .array(() => {
          const topic = from.string() ?? ''
          return from.array(() => {
            const answer = { topic, partition: from.int32(), code: from.int16() }
            from.take(24)
            return answer
          })
        })
        .flat(),
  })
  for (const { topic, partition, code } of answered) {
    // The broker had it already: an answer got lost on the way.
    if (code !== 0 && errorName(code) !== 'DUPLICATE_SEQUENCE_NUMBER')
      throw new KafkaProtocolError(code, topic, partition)
  }
}

export interface FetchFrom {
  readonly topic: string
  readonly partition: number
  readonly from: bigint
  readonly max_bytes: number
}

export interface Fetched {
  readonly topic: string
  readonly partition: number
  /** Undefined when it was read. */
  readonly error: KafkaProtocolError | undefined
  readonly last_stable: bigint
  readonly aborted: readonly { readonly producer: bigint; readonly first: bigint }[]
  /** Record batches one after the other; the last one may be cut off. */
  readonly bytes: Buffer
}

const READ_COMMITTED = 1

export async function fetch(
  broker: Broker,
  from: readonly FetchFrom[],
  limits: { readonly wait_ms: number; readonly max_bytes: number },
): Promise<readonly Fetched[]> {
  const byTopic = Map.groupBy(from, ({ topic }) => topic)
  const answered = await send(broker, FETCH, {
    encode: (to) => {
      to.writeInt32(-1).writeInt32(limits.wait_ms).writeInt32(1).writeInt32(limits.max_bytes).writeInt8(READ_COMMITTED)
      to.writeInt32(0).writeInt32(-1).writeInt32(byTopic.size)
      for (const [topic, partitions] of byTopic) {
        to.writeString(topic).writeInt32(partitions.length)
        for (const { partition, from: offset, max_bytes } of partitions) {
          to.writeInt32(partition).writeInt32(-1).writeInt64(String(offset)).writeInt64('-1').writeInt32(max_bytes)
        }
      }
      to.writeInt32(0).writeString('')
    },
    decode: (from) => {
      from.int32()
      const code = from.int16()
      from.int32()
      const partitions = from.array(() => {
        const topic = from.string() ?? ''
        return from.array((): Fetched => {
          const partition = from.int32()
          const failed = from.int16()
          from.int64()
          const last_stable = from.int64()
          from.int64()
          const aborted = from.array(() => ({ producer: from.int64(), first: from.int64() }))
          from.int32()
          const bytes = from.take(Math.max(0, from.int32()))
          const error = failed === 0 ? undefined : new KafkaProtocolError(failed, topic, partition)
          return { topic, partition, error, last_stable, aborted, bytes }
        })
      })
      return { code, partitions: partitions.flat() }
    },
  })
  if (answered.code !== 0) throw new KafkaProtocolError(answered.code)
  return answered.partitions
}

async function send<T>(
  broker: Broker,
  key: number,
  of: { readonly encode: (to: Encoder) => void; readonly decode: (from: Cursor) => T },
): Promise<T> {
  const [apiName, apiVersion] = NEEDED[key] as readonly [string, number]
  const request: ProtocolRequest<T> = {
    request: {
      apiKey: key,
      apiVersion,
      apiName,
      encode: async () => {
        const to = encoder()
        of.encode(to)
        return to
      },
    },
    response: { decode: async (payload) => of.decode(new Cursor(payload)), parse: async (decoded) => decoded },
  }
  return await broker.connectionPool.send(request)
}

/** No tagged fields: flexible versions end each structure, and the request's header, with them. */
function tags(to: Encoder): Encoder {
  return to.writeUVarInt(0)
}

function compactArray<T>(to: Encoder, items: readonly T[], write: (item: T) => void): void {
  to.writeUVarInt(items.length + 1)
  for (const item of items) write(item)
}

export interface Metadata {
  readonly brokers: readonly { readonly node: number; readonly host: string; readonly port: number }[]
  readonly controller: number
  readonly topics: readonly {
    readonly code: number
    readonly topic: string
    readonly partitions: readonly { readonly code: number; readonly partition: number; readonly leader: number }[]
  }[]
}

/** Of these topics, or of all. */
export async function metadata(broker: Broker, topics: readonly string[] | 'all'): Promise<Metadata> {
  return await send(broker, METADATA, {
    encode: (to) => {
      if (topics === 'all') to.writeInt32(-1)
      else to.writeInt32(topics.length)
      if (topics !== 'all') for (const topic of topics) to.writeString(topic)
      to.writeBoolean(false)
    },
    decode: (from) => {
      from.int32()
      const brokers = from.array(() => {
        const broker = { node: from.int32(), host: from.string() ?? '', port: from.int32() }
        from.string()
        return broker
      })
      from.string()
      const controller = from.int32()
      const topics = from.array(() => {
        const topic = { code: from.int16(), topic: from.string() ?? '' }
        from.int8()
        const partitions = from.array(() => {
          const partition = { code: from.int16(), partition: from.int32(), leader: from.int32() }
          for (const _replicas of ['all', 'in sync', 'offline']) from.array(() => from.int32())
          return partition
        })
        return { ...topic, partitions: partitions.sort((a, b) => a.partition - b.partition) }
      })
      return { brokers, controller, topics }
    },
  })
}
