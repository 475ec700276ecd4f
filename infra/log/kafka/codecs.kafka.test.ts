import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import type { NewRecord } from '../port/log.ts'
import { parseKafkaAddress } from './address.ts'
import { COMPRESSIONS } from './codecs.ts'
import { Connection } from './connection.ts'
import { openKafkaLog } from './kafka-log.ts'
import { type Batch, batchesIn } from './record-batch.ts'
import { fetch } from './records-protocol.ts'

const KiB = 1024

/** Values that compress, in every way a codec knows, and values that do not. */
const VALUES: readonly Buffer[] = [
  Buffer.alloc(0),
  Buffer.from('x'),
  Buffer.alloc(300 * KiB, 'plumb line '),
  Buffer.alloc(200 * KiB),
  randomBytes(70 * KiB),
  Buffer.concat(Array.from({ length: 400 }, (_, i) => Buffer.from(`row ${i % 37}: ${'ab'.repeat(i % 50)}\n`))),
  Buffer.concat([randomBytes(9), Buffer.alloc(64 * KiB, 'abcdefghijklmnopqrstuvwxyz'), randomBytes(3)]),
  randomBytes(13),
]

describe('compression, against a real broker', () => {
  const address = `kafka://${inject('kafka')}/codecs-${process.pid}`
  let connection: Connection
  beforeAll(async () => {
    connection = await Connection.open(parseKafkaAddress(address), 'test')
  })
  afterAll(async () => connection.close())

  /** The batches as the broker stores them. */
  const batches = async (topic: string): Promise<Batch[]> => {
    const name = connection.address.prefix + topic
    const leader = await connection.leader(name, 0)
    const from = [{ topic: name, partition: 0, from: 0n, max_bytes: 4 * KiB * KiB }]
    const [fetched] = await fetch(leader, from, { wait_ms: 100, max_bytes: 4 * KiB * KiB })
    return [...batchesIn(fetched?.bytes ?? Buffer.alloc(0))].filter(({ control }) => !control)
  }

  /** Writes records with codec `written` to a topic that stores them with `kept`; expects to read them unchanged. */
  const through = async (topic: string, written: string, kept: string) => {
    const log = await openKafkaLog({ address, env: { PLUMBLINE_KAFKA_COMPRESSION: written } })
    const name = connection.address.prefix + topic
    const configEntries = [{ name: 'compression.type', value: kept }]
    const controller = await connection.controller()
    await controller.createTopics({ topics: [{ topic: name, numPartitions: 1, replicationFactor: -1, configEntries }] })
    await log.createTopics([{ name: topic, partitions: 1 }])
    const producer = await log.producer({ transactional_id: topic })
    const transaction = producer.begin()
    const records = VALUES.map((value, i): NewRecord => ({ key: `k${i}`, headers: [{ name: 'h', value: 'ü' }], value }))
    for (const record of records) transaction.append(topic, 0, record)
    await transaction.commit()
    const read = await log.read({ topic, partition: 0, from: 0n, max_bytes: 4 * KiB * KiB })
    const digest = ({ key, headers, value }: NewRecord) => [key, headers, Buffer.from(value ?? []).toString('base64')]
    expect(read.records.map(digest)).toEqual(records.map(digest))
    await log.close()
  }

  for (const written of COMPRESSIONS) {
    test(`records written as ${written} are accepted by the broker and read back unchanged`, async () => {
      await through(`written.${written}`, written, 'producer')
      const codecs = (await batches(`written.${written}`)).map(({ codec }) => codec)
      expect(codecs).toEqual([{ none: 0, gzip: 1, lz4: 3, zstd: 4 }[written]])
    })
  }

  for (const [kept, number] of [
    ['gzip', 1],
    ['snappy', 2],
    ['lz4', 3],
    ['zstd', 4],
    ['uncompressed', 0],
  ] as const) {
    test(`records that Java compressed as ${kept} are read`, async () => {
      await through(`kept.${kept}`, kept === 'zstd' ? 'none' : 'zstd', kept)
      expect((await batches(`kept.${kept}`)).map(({ codec }) => codec)).toEqual([number])
    })
  }

  test('zstd is the default compression', async () => {
    const log = await openKafkaLog({ address, env: {} })
    await log.createTopics([{ name: 'default', partitions: 1 }])
    const producer = await log.producer({ transactional_id: 'default' })
    const transaction = producer.begin()
    transaction.append('default', 0, { key: null, headers: [], value: Buffer.alloc(KiB * KiB, 'line') })
    await transaction.commit()
    const [batch] = await batches('default')
    expect(batch?.codec).toBe(4)
    expect(batch?.records.length).toBeLessThan(KiB)
    const { records } = await log.read({ topic: 'default', partition: 0, from: 0n, max_bytes: 1 })
    expect(records[0]?.value?.byteLength).toBe(KiB * KiB)
    await log.close()
  })
})
