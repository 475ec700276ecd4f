import type { Broker } from './kafkajs.ts'
import {
  compactArray,
  INIT_PRODUCER_ID,
  KafkaProtocolError,
  OFFSET_FETCH,
  send,
  TXN_OFFSET_COMMIT,
  tags,
} from './protocol.ts'

/** Sent with committed positions: the member, and the generation in which it owns the partitions. */
export interface Proof {
  readonly generation: number
  readonly member: string
}

/** For a group without members. The broker accepts it from any client, so the driver checks for members first. */
export const NO_MEMBER: Proof = { generation: -1, member: '' }

export interface TopicOffsets {
  readonly topic: string
  readonly partitions: readonly {
    readonly partition: number
    readonly offset: bigint
    /** The text committed with the offset. */
    readonly metadata: string | null
  }[]
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
        compactArray(to.writeUVarIntString(topic), partitions, ({ partition, offset, metadata }) =>
          tags(to.writeInt32(partition).writeInt64(String(offset)).writeInt32(-1).writeUVarIntString(metadata)),
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

/**
 * All committed positions of a group.
 * @throws KafkaProtocolError UNSTABLE_OFFSET_COMMIT while an open transaction contains positions of it.
 */
export async function offsetFetch(broker: Broker, group: string): Promise<readonly TopicOffsets[]> {
  const answered = await send(broker, OFFSET_FETCH, {
    encode: (to) => {
      // No topic names means all topics; `true` requests only stable offsets.
      tags(tags(to).writeUVarIntString(group).writeUVarInt(0).writeBoolean(true))
    },
    decode: (from) => {
      from.skipTags()
      from.int32()
      const topics = from.compactArray(() => {
        const topic = from.compactString() ?? ''
        const partitions = from.compactArray(() => {
          const at = { partition: from.int32(), offset: from.int64() }
          from.int32()
          const answer = { ...at, metadata: from.compactString(), code: from.int16() }
          from.skipTags()
          return answer
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

/** `before`: this producer's own identity, if it resumes its id. */
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
