import { Cursor } from './cursor.ts'
import { type Broker, type Encoder, encoder, errorName, type ProtocolRequest } from './kafkajs.ts'

/**
 * Requests that kafkajs 2.2.4 lacks, sent over its connections:
 * - TxnOffsetCommit v3 (KIP-447): names the committing member, so that the broker refuses a former owner.
 * - OffsetFetch v7: only positions that no open transaction contains.
 * - InitProducerId v3 (KIP-360): a producer resumes its own id without fencing a later one.
 * - Metadata v6, with an error per partition instead of failing for all when one has no leader; v10 (KIP-516), with
 *   topic ids, if the broker supports it.
 * - IncrementalAlterConfigs v0 (KIP-339): changes some settings of a topic; `config-protocol.ts`.
 * - Produce v7 and Fetch v11 with record batches as bytes: their headers contain the offset where reading continues.
 */

/** A broker answered with an error code. */
export class KafkaProtocolError extends Error {
  override readonly name = 'KafkaProtocolError'
  /** Until `told` has turned the code into a more specific error. */
  readonly retry = 'later'
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

export const PRODUCE = 0
export const FETCH = 1
const METADATA = 3
export const OFFSET_FETCH = 9
export const INIT_PRODUCER_ID = 22
export const TXN_OFFSET_COMMIT = 28
export const INCREMENTAL_ALTER_CONFIGS = 44
const NEEDED: Readonly<Record<number, readonly [name: string, version: number]>> = {
  [PRODUCE]: ['Produce', 7],
  [FETCH]: ['Fetch', 11],
  [METADATA]: ['Metadata', 6],
  [OFFSET_FETCH]: ['OffsetFetch', 7],
  [INIT_PRODUCER_ID]: ['InitProducerId', 3],
  [TXN_OFFSET_COMMIT]: ['TxnOffsetCommit', 3],
}

/** A broker that lacks one refuses the call that uses it. */
const OPTIONAL: typeof NEEDED = { [INCREMENTAL_ALTER_CONFIGS]: ['IncrementalAlterConfigs', 0] }

/** A feature that this driver needs and the broker lacks, or undefined. */
export function lacking(broker: Broker): string | undefined {
  for (const [key, [name, version]] of Object.entries(NEEDED)) {
    const supported = broker.versions?.[Number(key)]?.maxVersion ?? -1
    if (supported < version) return `${name} version ${version}, it has ${supported < 0 ? 'none' : supported}`
  }
  return undefined
}

export async function send<T>(
  broker: Broker,
  key: number,
  of: {
    readonly encode: (to: Encoder) => void
    readonly decode: (from: Cursor) => T
    /** Default: the minimum version that every broker must support. */
    readonly version?: number
  },
): Promise<T> {
  const [apiName, needed] = (NEEDED[key] ?? OPTIONAL[key]) as readonly [string, number]
  const apiVersion = of.version ?? needed
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

/** Writes an empty list of tagged fields; flexible versions end each structure, and the request's header, with one. */
export function tags(to: Encoder): Encoder {
  return to.writeUVarInt(0)
}

export function compactArray<T>(to: Encoder, items: readonly T[], write: (item: T) => void): void {
  to.writeUVarInt(items.length + 1)
  for (const item of items) write(item)
}

export interface Metadata {
  readonly brokers: readonly { readonly node: number; readonly host: string; readonly port: number }[]
  readonly controller: number
  readonly topics: readonly TopicMetadata[]
}

export interface TopicMetadata {
  readonly code: number
  readonly topic: string
  /** Empty for a broker before 2.8. */
  readonly id: string
  readonly partitions: readonly { readonly code: number; readonly partition: number; readonly leader: number }[]
}

const METADATA_WITH_IDS = 10
const NO_ID = Buffer.alloc(16)

/** Metadata of these topics, or of all. */
export async function metadata(broker: Broker, topics: readonly string[] | 'all'): Promise<Metadata> {
  const newest = broker.versions?.[METADATA]?.maxVersion ?? 0
  return newest < METADATA_WITH_IDS ? await metadataWithoutIds(broker, topics) : await metadataWithIds(broker, topics)
}

async function metadataWithIds(broker: Broker, topics: readonly string[] | 'all'): Promise<Metadata> {
  return await send(broker, METADATA, {
    version: METADATA_WITH_IDS,
    encode: (to) => {
      tags(to)
      if (topics === 'all') to.writeUVarInt(0)
      else compactArray(to, topics, (topic) => tags(to.writeBuffer(NO_ID).writeUVarIntString(topic)))
      tags(to.writeBoolean(false).writeBoolean(false).writeBoolean(false))
    },
    decode: (from) => {
      from.skipTags()
      from.int32()
      const brokers = from.compactArray(() => {
        const broker = { node: from.int32(), host: from.compactString() ?? '', port: from.int32() }
        from.compactString()
        from.skipTags()
        return broker
      })
      from.compactString()
      const controller = from.int32()
      const topics = from.compactArray(() => {
        const topic = { code: from.int16(), topic: from.compactString() ?? '', id: idOf(from.take(16)) }
        from.int8()
        const partitions = from.compactArray(() => {
          const partition = { code: from.int16(), partition: from.int32(), leader: from.int32() }
          from.int32()
          for (const _replicas of ['all', 'in sync', 'offline']) from.compactArray(() => from.int32())
          from.skipTags()
          return partition
        })
        from.int32()
        from.skipTags()
        return { ...topic, partitions: partitions.sort((a, b) => a.partition - b.partition) }
      })
      return { brokers, controller, topics }
    },
  })
}

/** The form that Kafka's own tools print. */
const idOf = (bytes: Buffer) => (bytes.equals(NO_ID) ? '' : bytes.toString('base64url'))

async function metadataWithoutIds(broker: Broker, topics: readonly string[] | 'all'): Promise<Metadata> {
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
        const topic = { code: from.int16(), topic: from.string() ?? '', id: '' }
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
