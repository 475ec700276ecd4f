import { describe, expect, inject, test } from 'vitest'
import { append, Follower, numbered, readAll, record, text, until } from '../conformance/steps.ts'
import { OffsetGoneError, RecordTooLargeError, TopicMismatchError } from '../port/log.ts'
import { parseKafkaAddress } from './address.ts'
import { BatchBuilder } from './batch-builder.ts'
import { describeTopics } from './config-protocol.ts'
import { Connection } from './connection.ts'
import { openKafkaLog } from './kafka-log.ts'
import { produce } from './records-protocol.ts'
import { kafkaHarness } from './test-harness.ts'
import { initProducerId } from './transaction-protocol.ts'

const LONG_MS = 30_000

/** Cases that only a Kafka broker can cause, in addition to the suite that every driver passes. */
describe('what only Kafka does', { concurrent: true }, () => {
  const fresh = async (name: string, partitions = 1, settings: Record<string, string> = {}) => {
    const address = `kafka://${inject('kafka')}/own-${process.pid}-${name}`
    const connection = await Connection.open(parseKafkaAddress(address), 'test')
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
    const topic = {
      topic: `${connection.address.prefix}topic`,
      numPartitions: partitions,
      replicationFactor: -1,
      configEntries,
    }
    await (await connection.controller()).createTopics({ topics: [topic] })
    const log = await openKafkaLog({ address, heartbeat_ms: 100, transaction_timeout_ms: 5_000 })
    await log.createTopics([{ name: 'topic', partitions }])
    const close = async () => {
      await log.close()
      await connection.close()
    }
    return { address, connection, log, close, name: topic.topic }
  }

  test('transaction markers at the end of a topic: no livelock, the lag becomes 0', async () => {
    const { log, close } = await fresh('markers')
    await append(log, 'topic', 0, numbered(3))
    const producer = await log.producer({ transactional_id: 'positions-only' })
    // Five more transactions; the topic then ends in a transaction marker, which is no record.
    for (let i = 0; i < 5; i += 1) await append(log, 'topic', 0, [`after ${i}`])
    const [end] = await log.endOffsets('topic')
    const last = (await readAll(log, 'topic', 0)).at(-1)
    expect(end).toBe((last?.offset ?? 0n) + 2n)
    const follower = await Follower.join(log, 'group', ['topic'], LONG_MS)
    await until([follower], () => follower.next.get('topic/0')?.next === end, 'the end as the next position')
    await follower.commit(log, [0])
    expect((await log.committed('group')).map(({ next }) => next)).toEqual([end])
    expect(await follower.poll(50)).toEqual([])
    await producer.close()
    await close()
  })

  test('records of an abandoned transaction are never read, and block readers no longer than its timeout', async ({
    expect,
  }) => {
    const { connection, log, close, name } = await fresh('abandoned')
    await append(log, 'topic', 0, ['before'])
    const id = `${connection.address.prefix}gone`
    const coordinator = await connection.attempt('looking', () => connection.coordinator('transaction', id))
    const orphan = await connection.attempt('opening', () => initProducerId(coordinator, id, 2_000))
    const ids = { transactionalId: id, producerId: String(orphan.id), producerEpoch: orphan.epoch }
    await connection.attempt('beginning', () =>
      coordinator.addPartitionsToTxn({ ...ids, topics: [{ topic: name, partitions: [0] }] }),
    )
    const builder = new BatchBuilder()
    builder.add(record('never'))
    const batch = await builder.finish({
      producer: orphan.id,
      epoch: orphan.epoch,
      sequence: 0,
      now_ms: Date.now(),
      compression: 'zstd',
    })
    await produce(await connection.leader(name, 0), id, [{ topic: name, partition: 0, batch }], 5_000)
    // This simulates a killed process: the transaction stays open.
    const [stable] = await log.endOffsets('topic')
    await append(log, 'topic', 0, ['after'])
    expect((await readAll(log, 'topic', 0)).map(text)).toEqual(['before'])
    expect((await log.endOffsets('topic'))[0]).toBe(stable)
    await expect
      .poll(async () => (await readAll(log, 'topic', 0)).map(text), { timeout: 30_000 })
      .toEqual(['before', 'after'])
    await close()
  })

  test('an offset that retention removed: the error names the place, and reading continues at the offset that the caller chooses', async () => {
    const { log, close } = await fresh('gone')
    await append(log, 'topic', 0, numbered(10))
    const follower = await Follower.join(log, 'group', ['topic'], LONG_MS)
    await until([follower], () => follower.records.length === 10, 'ten records')
    follower.next.set('topic/0', { topic: 'topic', partition: 0, next: 2n })
    await follower.commit(log, [0])
    await follower.member.leave()
    await log.deleteBefore('topic', 0, 6n)
    const late = await Follower.join(log, 'group', ['topic'], LONG_MS)
    const failure = await until([late], () => late.records.length > 0, 'records').catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(OffsetGoneError)
    expect(String(failure)).toMatch(/topic topic partition 0: offset 2 was removed by retention; .*at 6 or later/)
    // The caller chooses where to continue: at the first retained record, or at the end.
    late.member.seek([{ topic: 'topic', partition: 0, next: (await log.beginningOffsets('topic'))[0] as bigint }])
    await until([late], () => late.records.length === 4, 'what is left')
    expect(late.texts).toEqual(numbered(10).slice(6))
    await close()
  })

  test('a topic that the broker would delete from keeps its records from then on, with its other settings', async ({
    expect,
  }) => {
    const had = { 'cleanup.policy': 'compact,delete', 'retention.ms': '86400000', 'max.message.bytes': '1048576' }
    const { connection, log, close, name } = await fresh('kept', 1, had)
    const settings = async () =>
      Object.fromEntries((await describeTopics(await connection.any(), [name], Object.keys(had))).get(name) ?? [])
    expect(await settings()).toEqual(had)
    const { changed, unknown } = (await log.keepForEver?.(['topic', 'absent'])) ?? {}
    expect(unknown).toBeUndefined()
    expect(changed).toEqual(['topic (it had cleanup.policy=compact,delete, retention.ms=86400000, retention.bytes=-1)'])
    expect(await settings()).toEqual({ ...had, 'cleanup.policy': 'delete', 'retention.ms': '-1' })
    expect(await log.keepForEver?.(['topic'])).toEqual({ changed: [] })
    await close()
  })

  test('a partition count that was raised under a running member is an error that names both counts', {
    timeout: 60_000,
  }, async () => {
    const { connection, log, close, name } = await fresh('raised', 2)
    const follower = await Follower.join(log, 'group', ['topic'], LONG_MS)
    await until([follower], () => follower.owned.size === 2, 'the partitions')
    const controller = (await connection.controller()) as unknown as {
      createPartitions(of: { topicPartitions: { topic: string; count: number }[] }): Promise<unknown>
    }
    await controller.createPartitions({ topicPartitions: [{ topic: name, count: 3 }] })
    const failure = await until([follower], () => false, 'an error').catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(TopicMismatchError)
    expect(String(failure)).toContain('topic topic: expected 2 partitions, found 3')
    await close()
  })

  test('a record larger than the broker accepts: nothing of its transaction is written, and the producer continues', async () => {
    const { log, close } = await fresh('large', 1, { 'max.message.bytes': '100000' })
    const producer = await log.producer({ transactional_id: 'large' })
    const transaction = producer.begin()
    transaction.append('topic', 0, record('small'))
    const noise = Buffer.from(Array.from({ length: 300_000 }, () => Math.floor(Math.random() * 256)))
    transaction.append('topic', 0, { key: null, headers: [], value: noise })
    const failure = await transaction.commit().catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(RecordTooLargeError)
    expect(String(failure)).toMatch(/message\.max\.bytes/)
    const again = producer.begin()
    again.append('topic', 0, record('next'))
    await again.commit()
    expect((await readAll(log, 'topic', 0)).map(text)).toEqual(['next'])
    await close()
  })

  test('a record of more than 1 MiB that compresses well is accepted, and delivered to readers and members', async () => {
    const { log, close } = await fresh('compressed')
    const values = [1, 3].map((mebibytes) => 'plumb line '.repeat(Math.ceil((mebibytes * 1024 * 1024) / 11)))
    await append(log, 'topic', 0, [...values, 'small'])
    expect((await readAll(log, 'topic', 0)).map(text)).toEqual([...values, 'small'])
    const follower = await Follower.join(log, 'group', ['topic'], LONG_MS)
    await until([follower], () => follower.records.length === 3, 'three records')
    expect(follower.texts).toEqual([...values, 'small'])
    await close()
  })

  test('a transaction of many megabytes in one partition is read back whole and in order', async () => {
    const { log, close } = await fresh('megabytes')
    const producer = await log.producer({ transactional_id: 'megabytes' })
    const transaction = producer.begin()
    const values = Array.from({ length: 24 }, (_, i) => `${i}:${crypto.randomUUID().repeat(10_000)}`)
    for (const value of values) transaction.append('topic', 0, record(value))
    await transaction.commit()
    expect((await readAll(log, 'topic', 0)).map(text)).toEqual(values)
    await close()
  })

  test('the append time of a record is the broker’s, whatever the producer’s clock', async ({ expect }) => {
    const { connection, log, close, name } = await fresh('clocks', 1, { 'message.timestamp.type': 'LogAppendTime' })
    const skews_ms = [0, -86_400_000, 3_600_000]
    for (const [i, skew_ms] of skews_ms.entries()) {
      const id = `${connection.address.prefix}clock-${i}`
      const coordinator = await connection.attempt('looking', () => connection.coordinator('transaction', id))
      const { id: producer, epoch } = await connection.attempt('opening', () => initProducerId(coordinator, id, 5_000))
      const ids = { transactionalId: id, producerId: String(producer), producerEpoch: epoch }
      await connection.attempt('beginning', () =>
        coordinator.addPartitionsToTxn({ ...ids, topics: [{ topic: name, partitions: [0] }] }),
      )
      const builder = new BatchBuilder()
      builder.add(record(`${i}`))
      const batch = await builder.finish({
        producer,
        epoch,
        sequence: 0,
        now_ms: Date.now() + skew_ms,
        compression: 'none',
      })
      await produce(await connection.leader(name, 0), id, [{ topic: name, partition: 0, batch }], 5_000)
      await coordinator.endTxn({ ...ids, transactionResult: true })
    }
    await expect.poll(async () => (await readAll(log, 'topic', 0)).length, { timeout: 20_000 }).toBe(3)
    const taken = (await readAll(log, 'topic', 0)).map(({ appended_ms }) => appended_ms)
    expect([...taken].sort((a, b) => a - b)).toEqual(taken)
    for (const at of taken) expect(Math.abs(at - Date.now())).toBeLessThan(120_000)
    await close()
  })

  test('a rebalance while the caller restores state: it continues with the partitions it kept, and is told which it lost', async () => {
    const harness = await kafkaHarness(inject('kafka'))
    const log = await harness.open()
    await log.createTopics([{ name: 'topic', partitions: 4 }])
    for (const p of [0, 1, 2, 3]) await append(log, 'topic', p, numbered(5, `p${p}.`))
    const a = await Follower.join(log, 'group', ['topic'], 3_000)
    await until([a], () => a.owned.size === 4, 'all partitions')
    // Restoring takes longer than a session, without a poll; meanwhile another member joins.
    const b = await Follower.join(await harness.open(), 'group', ['topic'], 3_000)
    await until([b], () => b.owned.size === 2, 'its half, from one that does not poll')
    await a.poll()
    expect(a.held.length).toBe(2)
    expect(a.losses.length).toBe(2)
    await until([a, b], () => a.records.length + b.records.length === 20, 'every record once')
    await a.commit(log, a.held)
    await b.commit(log, b.held)
    expect((await log.committed('group')).length).toBe(4)
    await harness.close()
  })

  test('a claim from before a rebalance commits the partitions that were kept, and none that was lost', async () => {
    const harness = await kafkaHarness(inject('kafka'))
    const log = await harness.open()
    await log.createTopics([{ name: 'topic', partitions: 2 }])
    for (const p of [0, 1]) await append(log, 'topic', p, numbered(3))
    const a = await Follower.join(log, 'group', ['topic'], LONG_MS)
    await until([a], () => a.records.length === 6, 'six records')
    const before = a.claim
    const b = await Follower.join(await harness.open(), 'group', ['topic'], LONG_MS)
    await until([a, b], () => a.owned.size === 1 && b.owned.size === 1, 'one each')
    if (before !== undefined) a.claim = before
    await a.commit(log, a.held)
    expect((await log.committed('group')).map(({ partition }) => partition)).toEqual(a.held)
    await expect(a.commit(log, b.held)).rejects.toThrow('no longer owns partition')
    await harness.close()
  })

  test('a member with other topics is refused, with both lists', async () => {
    const harness = await kafkaHarness(inject('kafka'))
    const log = await harness.open()
    await log.createTopics(['one', 'two'].map((name) => ({ name, partitions: 1 })))
    const a = await Follower.join(log, 'group', ['one'], LONG_MS)
    await until([a], () => a.owned.size === 1, 'the partition')
    const other = log.join({ group: 'group', topics: ['two'], session_timeout_ms: LONG_MS })
    await expect(other).rejects.toThrow('group group: expected the topics its live members read (one), got two')
    await harness.close()
  })
})
