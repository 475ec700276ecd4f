import type { Consumer } from 'kafkajs'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log, Member } from '../../infra/log/port/log.ts'
import type { Measure, Side } from '../pairs.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { type GatedConsumer, gatedConsumer } from './gated-consumer.ts'
import { kafkajsClient } from './kafkajs-client.ts'
import { fill, NOT_COMPRESSED, rawRecords, sizeName } from './raw-topic.ts'

const POLL_BYTES = 4 * 1024 * 1024

/** A member of a new group reads a full topic. Joining is not measured: the clock starts after the first records. */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const prefix = `consume-${Date.now()}`
  const log = await openKafkaLog({ address: `kafka://${bootstrap}/${prefix}`, env: NOT_COMPRESSED })
  const measures: Measure[] = []
  const closing: (() => Promise<void>)[] = []
  for (const [bytes, count, least] of [
    [256, 200_000, 40_000],
    [16 * 1024, 8_000, 1_000],
  ] as const) {
    const messages = quick ? least : count
    const topic = `values-${bytes}`
    await fill(log, topic, rawRecords(messages, bytes))
    const ours = logConsumer(log, topic, messages)
    const theirs = kafkajsConsumer(bootstrap, `${prefix}.${topic}`, messages)
    closing.push(ours.close, theirs.close)
    measures.push({
      what: `consume ${sizeName(bytes)}`,
      unit: 'messages',
      seconds: 'wall',
      candidate: ours,
      ceiling: theirs,
    })
  }
  return {
    measures,
    async close() {
      for (const close of closing) await close()
      await log.close()
    },
  }
}

type Closing = Side & { close(): Promise<void> }

function logConsumer(log: Log, topic: string, messages: number): Closing {
  let member: Member | undefined
  let turn = 0
  let before = 0
  const poll = async () => (await (member as Member).poll({ max_bytes: POLL_BYTES, wait_ms: 100 })).records.length
  return {
    what: 'log port',
    async prepare() {
      await member?.leave()
      member = await log.join({ group: `${topic}-${turn++}`, topics: [topic], session_timeout_ms: 10_000 })
      do before = await poll()
      while (before === 0)
    },
    async run() {
      let count = before
      while (count < messages) count += await poll()
      return count - before
    },
    close: async () => await member?.leave(),
  }
}

function kafkajsConsumer(bootstrap: string, topic: string, messages: number): Closing {
  const client = kafkajsClient(bootstrap)
  let consumer: Consumer | undefined
  let turn = 0
  let gated: GatedConsumer | undefined
  return {
    what: 'kafkajs’s own consumer',
    async prepare() {
      await consumer?.disconnect()
      consumer = client.consumer({ groupId: `${topic}-kafkajs-${turn++}` })
      let count = 0
      gated = await gatedConsumer(consumer, topic, ({ messages: more }) => {
        count += more.length
        return count >= messages
      })
    },
    async run() {
      const { first, go } = gated as GatedConsumer
      await go()
      return messages - first
    },
    close: async () => await consumer?.disconnect(),
  }
}
