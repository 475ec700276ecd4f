import { topicMismatch } from '../port/failure.ts'
import { type Topic, TopicMismatchError, type TopicRetention, type TopicSpec } from '../port/log.ts'
import type { Connection } from './connection.ts'
import { rootOf } from './errors.ts'
import { KafkaProtocolError } from './protocol.ts'

const CREATE_MS = 15_000
const NO_SUCH_TOPIC = 3
const FOR_EVER = [
  { name: 'cleanup.policy', value: 'delete' },
  { name: 'retention.ms', value: '-1' },
  { name: 'retention.bytes', value: '-1' },
]
/** The broker's clock sets a record's append time, because producers' clocks differ. */
const APPEND_TIME = { name: 'message.timestamp.type', value: 'LogAppendTime' }

const SETTINGS: Readonly<Record<TopicRetention, readonly { readonly name: string; readonly value: string }[]>> = {
  for_ever: FOR_EVER,
  // The broker's default limits; a consumer that is too late gets `OffsetGoneError`.
  may_expire: [{ name: 'cleanup.policy', value: 'delete' }],
  // `delete` as well as `compact`, so that records below an offset can be deleted on demand; age alone deletes none.
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
      // Another process created one of them first; the others were created here.
      if (!exists(error)) throw error
    }
  })
  await connection.attempt(`waiting for leaders of ${missing.map(({ name }) => name).join(', ')}`, async () => {
    const found = await connection.metadata(wanted.map(({ topic }) => topic))
    for (const { topic, code, partitions } of found.topics) {
      if (code !== 0)
        throw code === NO_SUCH_TOPIC ? new KafkaProtocolError(5, topic) : new KafkaProtocolError(code, topic)
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

/** @throws TopicMismatchError when one exists with another count; nothing has been created then. */
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

/** Topics with this pipeline's prefix, without Kafka's internal ones (`__…`). @param names only those of them that exist */
export async function listTopics(connection: Connection, names?: readonly string[]): Promise<Topic[]> {
  const { prefix } = connection.address
  if (names?.length === 0) return []
  const wanted = names === undefined ? 'all' : [...new Set(names)].map((name) => prefix + name)
  const found = await connection.attempt('listing topics', () => connection.metadata(wanted))
  return found.topics
    .filter(({ topic, code }) => code !== NO_SUCH_TOPIC && topic.startsWith(prefix) && !topic.startsWith('__'))
    .map(({ topic, id, partitions }) => ({ name: connection.shown(topic), partitions: partitions.length, id }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Deletes the records below an offset, at most up to the last committed one. */
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
