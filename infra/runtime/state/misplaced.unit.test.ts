import { beforeEach, describe, expect, test } from 'vitest'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import {
  add,
  added,
  append,
  counted,
  counting,
  double,
  doubled,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  sumsOf,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { changed } from '../../log/conformance/altered-log.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { type Log, type LogRecord, type NewRecord, type Position, TopicReplacedError } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import {
  changelogTopic,
  type JournalEntry,
  journalTopic,
  SNAPSHOTS_TOPIC,
  type SnapshotEntry,
} from '../internal/internal-topics.ts'
import { readJson, toJson } from '../internal/json-records.ts'
import { misplacedIn } from './misplaced.ts'

let broker: MemoryBroker
let log: Log

beforeEach(async () => {
  broker = new MemoryBroker('log')
  log = memoryLog({ broker })
  await log.createTopics(TOPICS)
})

const homeOf = (key: string) => partitionOf(key, PARTITIONS)

async function makeAgain(topic: string): Promise<void> {
  broker.deleteTopic(topic)
  await log.createTopics(TOPICS)
}

const idOf = (topic: string) => broker.topicId(topic)

/** @returns the message */
async function stops(run: Promise<unknown>): Promise<string> {
  const failure = await run.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(TopicReplacedError)
  return (failure as Error).message
}

async function commitStandalone(into: Log, group: string, positions: readonly Position[]): Promise<void> {
  const producer = await into.producer({ transactional_id: 'positions' })
  const transaction = producer.begin()
  transaction.standalonePositions(group, positions)
  await transaction.commit()
}

/** Copies every record of a topic unchanged into another log. */
async function copy(topic: string, to: Log): Promise<void> {
  const producer = await to.producer({ transactional_id: `copy/${topic}` })
  const transaction = producer.begin()
  for (const { partition, key, headers, value } of await recordsOf(log, topic)) {
    transaction.append(topic, partition, { key, headers, value } satisfies NewRecord)
  }
  await transaction.commit()
}

const withoutSeen = ({ topic, partition, next }: Position): Position => ({ topic, partition, next })

function withoutLast(record: LogRecord): LogRecord {
  const { last: _, ...entry } = readJson<JournalEntry>(record)
  return { ...record, value: toJson(entry) }
}

const stage = { name: 'count', variant: [], create: () => counting() }
const verify = (blobs = memoryBlobs()) => verifyStage(stage, { log, blobs, vocabulary, partitions: PARTITIONS })

describe('a topic that was deleted and recreated', () => {
  for (const [records, how] of [
    [1, 'fewer'],
    [3, 'as many'],
    [9, 'more'],
  ] as const) {
    test(`with ${how} records than before stops the worker, which processes none of them`, async () => {
      await append(log, add('ann', 1), add('ann', 1), add('ann', 1))
      await runUntilRead({ log })
      await makeAgain(added.type)
      await append(log, ...Array.from({ length: records }, () => add('ann', 100)))
      const message = await stops(runUntilRead({ log }))
      expect(message).toMatch(
        /count stops.*test\.added partition \d was read up to offset \d+, and the topic was deleted and made again/,
      )
      expect(message).toContain('./plumbline positions reset --only count')
      expect(await sumsOf(log, 'ann')).toEqual([1, 2, 3])
    })
  }

  test('while the worker runs stops it, and its work in progress is not committed', async () => {
    await append(log, add('ann', 1))
    let made_again = false
    const observe = async () => {
      if (made_again) return
      made_again = true
      await makeAgain(added.type)
      await append(log, add('ann', 100), add('ann', 100))
    }
    // Recreated before the first commit, whose records were read from the former topic.
    const message = await stops(
      runUntilRead({ log, observe: (at) => (at === 'processed' ? void observe() : undefined) }),
    )
    expect(message).toContain('test.added: it was deleted and made again while count read it')
    expect(await sumsOf(log, 'ann')).toEqual([])
    expect(await log.committed('count')).toEqual([])
  })

  test('is detected from the journal if the broker has dropped the positions with the topic', async () => {
    await append(log, add('ann', 1), add('ann', 1), double('ann'))
    await runUntilRead({ log })
    await makeAgain(added.type)
    await append(log, ...Array.from({ length: 9 }, () => add('ann', 100)))
    const dropped = changed(log, {
      committed: async (group) => (await log.committed(group)).filter(({ topic }) => topic !== added.type),
    })
    expect(await stops(runUntilRead({ log: dropped }))).toMatch(/record 2 is not the one that the journal counts/)
    const all = changed(log, { committed: async () => [] })
    expect(await stops(runUntilRead({ log: all }))).toMatch(/record 2 is not the one that the journal counts/)
    expect(await sumsOf(log, 'ann')).toHaveLength(3)
  })

  test('is detected even if it has the last record that was read again, but not one before it', async () => {
    const last = add('ann', 5)
    await append(log, add('ann', 1))
    await runUntilRead({ log })
    await append(log, last)
    await runUntilRead({ log })
    await makeAgain(added.type)
    await append(log, add('ann', 2))
    await append(log, last, add('ann', 100))
    const none = changed(log, { committed: async () => [] })
    expect(await stops(runUntilRead({ log: none }))).toMatch(/record 1 is not the one that the journal counts/)
  })

  test('with the same records again is resumed after those that the journal counts', async () => {
    const events = [add('ann', 1), add('ann', 2)]
    await append(log, ...events)
    await runUntilRead({ log })
    await makeAgain(added.type)
    await append(log, ...events, add('ann', 4))
    const dropped = changed(log, {
      committed: async (group) =>
        (await log.committed(group)).filter(({ seen }) => seen?.topic_id === idOf(added.type)),
    })
    const blobs = memoryBlobs()
    await runUntilRead({ log: dropped, blobs })
    expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
    expect((await verify(blobs)).differences).toBe(0)
  })

  test('is detected while it is still empty: later records would be taken for the earlier ones', async () => {
    await append(log, add('ann', 1), double('ann'))
    await runUntilRead({ log })
    await makeAgain(added.type)
    const dropped = changed(log, {
      committed: async (group) => (await log.committed(group)).filter(({ topic }) => topic !== added.type),
    })
    expect(await stops(runUntilRead({ log: dropped }))).toMatch(/the journal counts 1 records, the log holds 0/)
  })

  test('is what verify reports, and no difference of values', async () => {
    await append(log, add('ann', 1), add('ann', 1))
    await runUntilRead({ log })
    await makeAgain(added.type)
    await append(log, ...Array.from({ length: 9 }, () => add('ann', 100)))
    expect(await stops(verify())).toMatch(/count read another record of test\.added than lies at offset \d+ now/)
  })
})

describe('the worker’s own topics', () => {
  for (const topic of [journalTopic('count'), changelogTopic('count')]) {
    test(`${topic}, deleted and recreated, stops the worker: what it recorded of its inputs is gone`, async () => {
      await append(log, add('ann', 1))
      await runUntilRead({ log })
      await makeAgain(topic)
      await append(log, add('ann', 1))
      expect(await stops(runUntilRead({ log }))).toContain('its journal or its changelog was deleted and made again')
      expect(await sumsOf(log, 'ann')).toEqual([1])
    })
  }

  test('a snapshot of another changelog is not restored', async () => {
    const blobs = memoryBlobs()
    await append(log, add('ann', 1))
    await runUntilRead({ log, blobs, tuning: { snapshot_every: 1 } })
    const [snapshot] = (await recordsOf(log, SNAPSHOTS_TOPIC)).map((record) => readJson<SnapshotEntry>(record))
    expect(snapshot?.changelog_id).toMatch(/^log\./)
    await makeAgain(changelogTopic('count'))
    // Positions of an earlier release do not name their changelog.
    await commitStandalone(log, 'count', (await log.committed('count')).map(withoutSeen))
    await append(log, add('ann', 1))
    expect(await stops(runUntilRead({ log, blobs }))).toContain('_changelog.count partition')
  })
})

describe('an older copy that was put in place of a log', () => {
  /** Another log whose topics have the same ids, like two copies of one log. */
  async function copyOf(...topics: string[]): Promise<Log> {
    const other = memoryLog({ broker: new MemoryBroker('log') })
    await other.createTopics(TOPICS)
    for (const topic of topics) await copy(topic, other)
    return other
  }

  test('and is shorter than what was read is detected by its end', async () => {
    await append(log, add('ann', 1), add('ann', 1))
    await runUntilRead({ log })
    const older = await copyOf()
    await commitStandalone(older, 'count', await log.committed('count'))
    expect(await stops(runUntilRead({ log: older }))).toMatch(
      /it ends at offset 0: .*an older copy was put in its place/,
    )
  })

  test('and has grown since is detected by the last record that was read', async () => {
    await append(log, add('ann', 1), add('ann', 1))
    await runUntilRead({ log })
    const older = await copyOf()
    await append(older, add('ann', 5), add('ann', 5), add('ann', 5))
    await commitStandalone(older, 'count', await log.committed('count'))
    expect(await stops(runUntilRead({ log: older }))).toMatch(
      /the last record that was read, at offset 1, is another one/,
    )
    expect(await sumsOf(older, 'ann')).toEqual([])
  })
})

test('a last record that retention has removed cannot be compared, and the worker continues', async () => {
  await append(log, add('ann', 1), add('ann', 1))
  await runUntilRead({ log })
  await log.deleteBefore(added.type, homeOf('ann'), 2n)
  await append(log, add('ann', 1))
  await runUntilRead({ log })
  expect(await sumsOf(log, 'ann')).toEqual([1, 2, 3])
})

describe('positions of an earlier release', () => {
  async function asBefore(): Promise<void> {
    await commitStandalone(log, 'count', (await log.committed('count')).map(withoutSeen))
  }

  test('are adopted once, with the last record that was read, and no record is read twice or lost', async () => {
    await append(log, add('ann', 1), add('bob', 1), double('ann'))
    await runUntilRead({ log })
    const before = await log.committed('count')
    await asBefore()
    await runUntilRead({ log })
    const adopted = await log.committed('count')
    expect(adopted.map(withoutSeen)).toEqual(before.map(withoutSeen))
    for (const position of adopted) {
      expect(position.seen?.topic_id).toMatch(/^log\./)
      expect(position.seen?.state_in).toMatch(/^log\.\d+,log\.\d+$/)
    }
    expect(adopted.map(({ seen }) => seen?.last)).toEqual(before.map(({ seen }) => seen?.last))
    await append(log, add('ann', 1))
    await runUntilRead({ log })
    expect(await sumsOf(log, 'ann')).toHaveLength(3)
    expect((await verify()).differences).toBe(0)
  })

  test('in a topic that was recreated are refused: its records are younger than the journal', async () => {
    await append(log, add('ann', 1), add('ann', 1))
    await runUntilRead({ log })
    await makeAgain(added.type)
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    await append(log, ...Array.from({ length: 9 }, () => add('ann', 100)))
    await asBefore()
    expect(await stops(runUntilRead({ log }))).toMatch(/the last record before that is younger than the last entry of/)
    // If the positions are gone too, its journal is used, which has no digests either.
    const journal = journalTopic('count')
    const older = changed(log, {
      committed: async () => [],
      read: async (request) => {
        const read = await log.read(request)
        return request.topic === journal ? { ...read, records: read.records.map(withoutLast) } : read
      },
    })
    expect(await stops(runUntilRead({ log: older }))).toMatch(/record 2 is younger than the entry of the journal/)
    expect(await sumsOf(log, 'ann')).toEqual([1, 2])
  })
})

test('a group has a position even where it has read nothing, so that a lost position is detected', async () => {
  await append(log, add('ann', 1))
  await runUntilRead({ log })
  const topics = (await log.committed('count')).filter(({ partition }) => partition === homeOf('ann'))
  expect(topics.map(({ topic }) => topic).sort()).toEqual([added.type, doubled.type])
  expect(await misplacedIn(log, topics)).toEqual([])
  expect((await recordsOf(log, counted.type)).length).toBe(1)
})
