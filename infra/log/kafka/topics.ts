import { topicMismatch } from '../failure.ts'
import { TopicMismatchError, type TopicRetention, type TopicSpec } from '../log.ts'
import type { Connection } from './connection.ts'
import { rootOf } from './errors.ts'
import { KafkaProtocolError } from './protocol.ts'

const CREATE_MS = 15_000
const FOR_EVER = [
  { name: 'cleanup.policy', value: 'delete' },
  { name: 'retention.ms', value: '-1' },
  { name: 'retention.bytes', value: '-1' },
]
/** When a record was taken is the broker's word: producers' clocks differ. */
const APPEND_TIME = { name: 'message.timestamp.type', value: 'LogAppendTime' }

const SETTINGS: Readonly<Record<TopicRetention, readonly { readonly name: string; readonly value: string }[]>> = {
  for_ever: FOR_EVER,
  // The broker's own limits; consumers that are later than those are told.
  may_expire: [{ name: 'cleanup.policy', value: 'delete' }],
  // `delete` besides `compact`, so that records below an offset can be deleted on demand; time alone deletes none.
  latest_per_key: [{ name: 'cleanup.policy', value: 'compact,delete' }, ...FOR_EVER.slice(1)],
}

export async function createTopics(connection: Connection, topics: readonly TopicSpec[]): Promise<void> {
  const { prefix, text, replication } = connection.address
  const missing = await missingOf(connection, topics)
  if (missing.length === 0) return
  const wanted = missing.map(({ name, partitions, retention = 'for_ever' }) => ({
    topic: prefix + name,
    numPartitions: partitions,
    replicationFactor: replication,
    configEntries: [APPEND_TIME, ...SETTINGS[retention]],
  }))
  await connection.attempt(`creating ${missing.map(({ name }) => name).join(', ')}`, async () => {
    const controller = await connection.controller()
    try {
      await controller.createTopics({ topics: wanted, timeout: CREATE_MS })
    } catch (error) {
      // Somebody else was first with one of them; the others were made.
      if (!exists(error)) throw error
    }
  })
  await connection.attempt(`waiting for leaders of ${missing.map(({ name }) => name).join(', ')}`, async () => {
    const found = await connection.metadata(wanted.map(({ topic }) => topic))
    for (const { topic, code, partitions } of found.topics) {
      if (code !== 0) throw code === 3 ? new KafkaProtocolError(5, topic) : new KafkaProtocolError(code, topic)
      const expected = missing.find(({ name }) => prefix + name === topic)?.partitions ?? partitions.length
      if (partitions.length !== expected) {
        throw new TopicMismatchError(topicMismatch(text, connection.shown(topic), expected, partitions.length))
      }
      const without = partitions.find(({ code, leader }) => code !== 0 || leader < 0)
      if (without !== undefined) throw new KafkaProtocolError(5, topic, without.partition)
    }
  })
}

function exists(error: unknown): boolean {
  const errors = (error as { errors?: readonly unknown[] }).errors ?? [error]
  return errors.every((one) => rootOf(one).type === 'TOPIC_ALREADY_EXISTS')
}

/** @throws TopicMismatchError when one is there with another count; nothing has been created then. */
async function missingOf(connection: Connection, topics: readonly TopicSpec[]): Promise<TopicSpec[]> {
  const there = new Map((await listTopics(connection)).map(({ name, partitions }) => [name, partitions]))
  for (const { name, partitions } of topics) {
    const found = there.get(name) ?? partitions
    if (found !== partitions) {
      throw new TopicMismatchError(topicMismatch(connection.address.text, name, partitions, found))
    }
  }
  return topics.filter(({ name }) => !there.has(name))
}

/** Those with this pipeline's prefix; Kafka's own (`__…`) are nobody's. */
export async function listTopics(connection: Connection): Promise<TopicSpec[]> {
  const { prefix } = connection.address
  const found = await connection.attempt('listing topics', () => connection.metadata('all'))
  return found.topics
    .filter(({ topic }) => topic.startsWith(prefix) && !topic.startsWith('__'))
    .map(({ topic, partitions }) => ({ name: connection.shown(topic), partitions: partitions.length }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Deletes below an offset, at most up to the end of what is committed. */
export async function deleteRecords(
  connection: Connection,
  topic: string,
  partition: number,
  before: bigint,
): Promise<void> {
  await connection.attempt(`deleting records of ${connection.shown(topic)} partition ${partition}`, async () => {
    const leader = await connection.leader(topic, partition)
    await leader.deleteRecords({ topics: [{ topic, partitions: [{ partition, offset: String(before) }] }] })
  })
}
