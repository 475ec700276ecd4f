import { type Broker, errorName } from './kafkajs.ts'
import { FETCH, KafkaProtocolError, PRODUCE, send } from './protocol.ts'

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
    // A duplicate means that the broker already has the batch: only its answer was lost.
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
  /** Undefined if the read succeeded. */
  readonly error: KafkaProtocolError | undefined
  readonly last_stable: bigint
  readonly aborted: readonly { readonly producer: bigint; readonly first: bigint }[]
  /** Concatenated record batches; the last one may be truncated. */
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
