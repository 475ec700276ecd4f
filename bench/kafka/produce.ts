import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Measure } from '../pairs.ts'
import { PARTITIONS } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { kafkajsClient, transactional } from './kafkajs-client.ts'
import { NOT_COMPRESSED, rawRecords, sizeName } from './raw-topic.ts'

/** Transactions of some MiB at most, one after the other; nothing is compressed. */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const prefix = `produce-${Date.now()}`
  const log = await openKafkaLog({ address: `kafka://${bootstrap}/${prefix}`, env: NOT_COMPRESSED })
  await log.createTopics([{ name: 'values', partitions: PARTITIONS }])
  const producer = await log.producer({ transactional_id: 'bench' })
  const kafkajs = kafkajsClient(bootstrap).producer(transactional(`${prefix}.kafkajs`))
  await kafkajs.connect()
  const measures = (
    [
      [256, 4_000, 8],
      [16 * 1024, 200, 6],
      [256 * 1024, 12, 6],
    ] as const
  ).map(([bytes, count, transactions]): Measure => {
    const records = rawRecords(count, bytes)
    const turns = quick ? 1 : transactions
    const messages = records.map(({ key, value }, at) => ({
      key,
      value: value as Buffer,
      partition: at % PARTITIONS,
    }))
    return {
      what: `produce ${sizeName(bytes)}, ${count} to a transaction`,
      unit: 'messages',
      seconds: 'wall',
      candidate: {
        what: 'log port',
        async run() {
          for (let turn = 0; turn < turns; turn++) {
            const transaction = producer.begin()
            records.forEach((record, at) => {
              transaction.append('values', at % PARTITIONS, record)
            })
            await transaction.commit()
          }
          return turns * count
        },
      },
      ceiling: {
        what: 'kafkajs’s own producer',
        async run() {
          for (let turn = 0; turn < turns; turn++) {
            const transaction = await kafkajs.transaction()
            await transaction.send({ topic: `${prefix}.values`, messages })
            await transaction.commit()
          }
          return turns * count
        },
      },
    }
  })
  return {
    measures,
    async close() {
      await kafkajs.disconnect()
      await log.close()
    },
  }
}
