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
