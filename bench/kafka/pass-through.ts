import { randomBytes } from 'node:crypto'
import type { Consumer, Producer as KafkajsProducer, Transaction } from 'kafkajs'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log, Member, Polled, Position, Producer } from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import type { Transform } from '../../processors/processor.ts'
import { defineEvent, type Event } from '../../schemas/declare/event.ts'
import { utf8 } from '../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import type { Measure, Side } from '../pairs.ts'
import { appendAll, PARTITIONS } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { type GatedConsumer, gatedConsumer } from './gated-consumer.ts'
import { kafkajsClient, transactional } from './kafkajs-client.ts'
import { fill, NOT_COMPRESSED, rawRecords, sizeName } from './raw-topic.ts'
import { workUntil } from './work-until.ts'

const COMMIT_MS = 100
const LARGE_BYTES = 16 * 1024
const GOAL = 0.8

/** Copies records to another topic, outputs and positions in one transaction each 100 ms; nothing is compressed. */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const prefix = `pass-${Date.now()}`
  const log = await openKafkaLog({ address: `kafka://${bootstrap}/${prefix}`, env: NOT_COMPRESSED })
  const closing: (() => Promise<void>)[] = []
  const measures: Measure[] = []
  for (const [bytes, count] of [
    [LARGE_BYTES, 4_000],
    [256, 60_000],
  ] as const) {
    const messages = quick ? 500 : count
    const topic = `values-${bytes}`
    await fill(log, topic, rawRecords(messages, bytes))
    await log.createTopics([{ name: `${topic}-passed`, partitions: PARTITIONS }])
    const alone = kafkajsLoop(bootstrap, `${prefix}.${topic}`, messages)
    const port = portLoop(log, topic, messages)
    closing.push(alone.close, port.close)
    const measured = { unit: 'messages', seconds: 'wall', goal: GOAL, ceiling: alone } as const
    measures.push({
      what: `transactional pass-through, ${sizeName(bytes)} values, the log port in a loop`,
      ...measured,
      candidate: port,
    })
    if (bytes !== LARGE_BYTES) continue
    measures.push({
      what: `transactional pass-through, ${sizeName(bytes)} values, a transform on the worker`,
      ...measured,
      candidate: await worker(log, messages),
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

/** Joining is not measured: the clock starts when the first records have arrived. */
function portLoop(log: Log, topic: string, messages: number): Closing {
  let member: Member | undefined
  let producer: Producer | undefined
  let polled: Polled | undefined
  let turn = 0
  const poll = async () => await (member as Member).poll({ max_bytes: 4 * 1024 * 1024, wait_ms: COMMIT_MS })
  const close = async () => {
    await member?.leave()
    await producer?.close()
  }
  return {
    what: 'log port',
    close,
    async prepare() {
      await close()
      const group = `${topic}-${turn++}`
      producer = await log.producer({ transactional_id: group })
      member = await log.join({ group, topics: [topic], session_timeout_ms: 10_000 })
      do polled = await poll()
      while (polled.records.length === 0)
    },
    async run() {
      const sender = producer as Producer
      const positions = new Map<number, Position>()
      let transaction = sender.begin()
      let committed_ms = performance.now()
      for (let count = 0; ; polled = await poll()) {
        const { records, positions: read, claim } = polled as Polled
        for (const record of records) transaction.append(`${topic}-passed`, record.partition, record)
        for (const position of read) positions.set(position.partition, position)
        count += records.length
        if (performance.now() - committed_ms < COMMIT_MS && count < messages) continue
        transaction.positions(claim, [...positions.values()])
        await transaction.commit()
        if (count >= messages) return messages
        positions.clear()
        transaction = sender.begin()
        committed_ms = performance.now()
      }
    },
  }
}

/** kafkajs's consumer and transactional producer, as in its documentation. */
function kafkajsLoop(bootstrap: string, topic: string, messages: number): Closing {
  const client = kafkajsClient(bootstrap)
  let consumer: Consumer | undefined
  let producer: KafkajsProducer | undefined
  let turn = 0
  let gated: GatedConsumer | undefined
  const close = async () => {
    await consumer?.disconnect()
    await producer?.disconnect()
  }
  return {
    what: 'kafkajs’s own consumer and producer in a loop',
    close,
    async prepare() {
      await close()
      const groupId = `${topic}-kafkajs-${turn++}`
      const sender = client.producer(transactional(groupId))
      const receiver = client.consumer({ groupId, readUncommitted: false })
      ;[producer, consumer] = [sender, receiver]
      await sender.connect()
      let count = 0
      let committed_ms: number | undefined
      let transaction: Transaction | undefined
      const positions = new Map<number, string>()
      gated = await gatedConsumer(receiver, topic, async (batch) => {
        committed_ms ??= performance.now()
        transaction ??= await sender.transaction()
        await transaction.send({
          topic: `${topic}-passed`,
          messages: batch.messages.map(({ key, value }) => ({ key, value, partition: batch.partition })),
        })
        positions.set(batch.partition, String(BigInt(batch.lastOffset()) + 1n))
        count += batch.messages.length
        if (performance.now() - committed_ms < COMMIT_MS && count < messages) return false
        const partitions = [...positions].map(([partition, offset]) => ({ partition, offset }))
        await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions }] })
        await transaction.commit()
        transaction = undefined
        positions.clear()
        committed_ms = performance.now()
        return count >= messages
      })
    },
    async run() {
      await gated?.go()
      return messages
    },
  }
}

const valueRead = declared('bench.value_read')
const valuePassed = declared('bench.value_passed')

function declared(type: string) {
  return defineEvent({
    type,
    version: 1,
    key: 'key',
    encoding: 'json',
    retention: 'derived',
    about: 'A value to pass on.',
    row: { key: utf8(), value: utf8() },
  })
}

const passValues = (turn: number): Transform => ({
  shape: 'transform',
  name: `pass-values-${turn}`,
  version: 1,
  about: 'says what it reads',
  variant: [],
  produces: 'derived',
  inputs: [valueRead],
  outputs: [valuePassed],
  max_batch: 1,
  apply(events, { emit }) {
    for (const { data } of events as readonly Event<typeof valueRead>[]) emit(valuePassed, data)
  },
})

async function worker(log: Log, messages: number): Promise<Side> {
  const vocabulary = catalogueOf([valueRead, valuePassed])
  await log.createTopics(topicsOf([valueRead, valuePassed], [], PARTITIONS))
  const emitted = Array.from({ length: messages }, (_, at) => {
    const key = `k${at % 64}`
    // The JSON around it adds the rest of the size.
    const value = randomBytes(12_260).toString('base64')
    const event: Event<typeof valueRead> = {
      id: sourceId(['bench', String(at)]),
      source: '/sources/bench',
      type: valueRead.type,
      version: 1,
      time: '2026-01-01T00:00:00.000Z',
      key,
      clock: 'virtual',
      causes: [],
      data: { key, value },
    }
    return { type: valueRead, event }
  })
  await appendAll(log, emitted, [])
  let turn = 0
  return {
    what: 'worker',
    async prepare() {
      turn += 1
      await log.createTopics(topicsOf([], [passValues(turn)], PARTITIONS))
    },
    async run() {
      await workUntil(log, passValues(turn), vocabulary, messages)
      return messages
    },
  }
}
