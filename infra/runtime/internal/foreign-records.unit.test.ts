import { beforeEach, describe, expect, test } from 'vitest'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import {
  add,
  append,
  appendRaw,
  counting,
  EVENTS,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  sumsOf,
  vocabulary,
} from '../../../testing/counting.ts'
import { BlobMissingError, type Blobs, BlobsAwayError } from '../../blobs/blobs.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { LogRecord, NewRecord } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { deadLetters } from '../rebuild/retry-dead-letter.ts'
import { claimTopology, topicsOf } from '../state/topics.ts'
import { ForeignRecordError } from './foreign-record.ts'
import {
  changelogTopic,
  DEAD_LETTERS_TOPIC,
  journalTopic,
  SKIPPED_TOPIC,
  SNAPSHOTS_TOPIC,
  TOPOLOGY_TOPIC,
} from './internal-topics.ts'
import { toJson } from './json-records.ts'
import { skipRecord } from './skipped-records.ts'

/** Tests records in internal topics that another program wrote. */

let log = memoryLog()
let blobs = memoryBlobs()
beforeEach(async () => {
  log = memoryLog()
  blobs = memoryBlobs()
  await log.createTopics(topicsOf(EVENTS, [{ name: 'count' }], PARTITIONS))
  await append(log, add('ann', 1), add('bob', 10), add('ann', 2))
  await run()
})

const run = (more: Partial<Parameters<typeof runUntilRead>[0]> = {}) => runUntilRead({ log, blobs, ...more })
const stage = { name: 'count', variant: [], create: () => counting() }
const verify = () => verifyStage(stage, { log, blobs, vocabulary, partitions: PARTITIONS })
const value = (data: unknown) => ({ key: 'ann', headers: [], value: toJson(data) })
const bytes = (key: string | null = 'ann') => ({ key, headers: [], value: Buffer.from([0, 255, 128, 7, 1]) })

async function last(topic: string, partition: number): Promise<LogRecord> {
  return (await recordsOf(log, topic)).filter((record) => record.partition === partition).at(-1) as LogRecord
}

const NO_ENTRIES: readonly [string, NewRecord][] = [
  ['random bytes', bytes()],
  ['JSON of another shape', value({ hello: 'world' })],
]

/** The partition of ann's records, and a key of another partition. */
const HOME = partitionOf('ann', PARTITIONS)
const ELSEWHERE = 'cdefghij'.split('').find((key) => partitionOf(key, PARTITIONS) !== HOME) as string

test.each(NO_ENTRIES)(
  'a journal with %s: verify names it and the command, after which it passes',
  async (_, record) => {
    await appendRaw(log, journalTopic('count'), 1, record)
    const found = await last(journalTopic('count'), 1)
    const { differences, first } = await verify()
    expect(differences).toBe(1)
    expect(first?.kind).toBe('unreadable')
    expect(first?.message).toContain(`_journal.count partition 1 offset ${found.offset}: expected `)
    expect(first?.message).toContain(`./plumbline skip _journal.count 1 ${found.offset}`)
    expect(await skipRecord(log, found, 'a test')).toBe(true)
    expect(await skipRecord(log, found, 'a test')).toBe(false)
    expect(await verify()).toMatchObject({ differences: 0, rebuilt: 3 })
    await append(log, add('ann', 4))
    await run()
    expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
    expect(await verify()).toMatchObject({ differences: 0, rebuilt: 4 })
  },
)

test.each<[string, NewRecord]>([
  ...NO_ENTRIES,
  ['a state of another shape', value({ state_version: 1, state: { total: 5 } })],
  ['the state of a key of another partition', { ...value({ state_version: 1, state: { sum: 5 } }), key: ELSEWHERE }],
])('a changelog with %s: a run stops, names it and the command, after which it continues', async (_, record) => {
  const partition = HOME
  await appendRaw(log, changelogTopic('count'), partition, record)
  // A run reads the changelog after the last snapshot, so it reads this record.
  const found = await last(changelogTopic('count'), partition)
  await append(log, add('ann', 4))
  const events = await run().catch((error: unknown) => error)
  expect(events).toBeInstanceOf(ForeignRecordError)
  const { message } = events as Error
  expect(message).toContain(`_changelog.count partition ${partition} offset ${found.offset}: expected `)
  expect(message).toContain(`./plumbline skip _changelog.count ${partition} ${found.offset}`)
  await skipRecord(log, found, 'a test')
  await run()
  expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
  expect(await verify()).toMatchObject({ differences: 0 })
})

describe('skipped and reported', () => {
  test.each(NO_ENTRIES)('%s among snapshots', async (_, record) => {
    for (const partition of [0, 1]) await appendRaw(log, SNAPSHOTS_TOPIC, partition, record)
    await append(log, add('ann', 4))
    const notices = (await run()).flatMap((event) => (event.kind === 'notice' ? [event.message] : []))
    expect(notices).toContainEqual(expect.stringMatching(/passed over: _snapshots partition 1 offset \d+: expected /))
    expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
    for (const partition of [0, 1]) await skipRecord(log, await last(SNAPSHOTS_TOPIC, partition), 'a test')
    await append(log, add('ann', 1))
    expect((await run()).filter(({ kind }) => kind === 'notice')).toEqual([])
  })

  test.each(NO_ENTRIES)('%s among dead letters', async (_, record) => {
    await append(log, add('ann', -1))
    await run()
    await appendRaw(log, DEAD_LETTERS_TOPIC, 0, record)
    const reported: string[] = []
    const letters: string[] = []
    const onForeign = ({ message }: Error) => void reported.push(message)
    for await (const { letter } of deadLetters(log, onForeign)) letters.push(letter.error)
    expect(letters).toEqual([expect.stringContaining('amount -1')])
    expect(reported).toEqual([expect.stringMatching(/^dead_letters partition 0 offset \d+: expected /)])
    expect(await verify()).toMatchObject({ differences: 0 })
  })

  test('anything among the records that are to be skipped', async () => {
    const found = await recordsOf(log, 'test.added')
    await skipRecord(log, found[0] as LogRecord, 'a test')
    for (const [, record] of NO_ENTRIES) await appendRaw(log, SKIPPED_TOPIC, 0, record)
    await appendRaw(log, SKIPPED_TOPIC, 0, { ...bytes(), value: null })
    expect(await skipRecord(log, found[0] as LogRecord, 'a test')).toBe(false)
    expect(await skipRecord(log, found[1] as LogRecord, 'a test')).toBe(true)
  })
})

test('a sound record is read, even if an operator marked it to be skipped', async () => {
  for (const topic of [journalTopic('count'), changelogTopic('count')]) {
    for (const record of await recordsOf(log, topic)) await skipRecord(log, record, 'a mistake')
  }
  await append(log, add('ann', 4))
  await run()
  expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
  expect(await verify()).toMatchObject({ differences: 0, rebuilt: 4 })
})

test.each(NO_ENTRIES)('a recorded topology with %s: the start stops, names it and the command', async (_, record) => {
  const topology = { fingerprint: 'f', partitions: PARTITIONS, processors: [] }
  await claimTopology(log, topology)
  await appendRaw(log, TOPOLOGY_TOPIC, 0, record)
  const found = await last(TOPOLOGY_TOPIC, 0)
  await expect(claimTopology(log, topology)).rejects.toThrow(`./plumbline skip _topology 0 ${found.offset} `)
  await skipRecord(log, found, 'a test')
  await claimTopology(log, topology)
})

describe('a snapshot whose blob', () => {
  /** A run that takes a snapshot, at the latest when its worker stops. */
  const states = () => run({ tuning: { snapshot_every: 1 } })

  test('is missing: the state is restored from the whole changelog, and the run reports it', async () => {
    await append(log, add('ann', 4))
    await states()
    expect(await recordsOf(log, SNAPSHOTS_TOPIC)).not.toEqual([])
    const get: Blobs['get'] = async ({ sha256 }) => {
      throw new BlobMissingError(`blob ${sha256} is not there`)
    }
    await append(log, add('ann', 1))
    const events = await run({ blobs: { ...blobs, get } })
    expect(events.flatMap((event) => (event.kind === 'notice' ? [event.message] : []))).toContainEqual(
      expect.stringMatching(/the snapshot of count partition \d cannot be read, .* from the whole changelog/),
    )
    expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7, 8])
  })

  test('is in an unavailable store: the worker waits for it', async () => {
    await append(log, add('ann', 4))
    await states()
    let times = 2
    const get: Blobs['get'] = async (ref) => {
      if (times-- > 0) throw new BlobsAwayError('away')
      return blobs.get(ref)
    }
    await append(log, add('ann', 1))
    const events = await run({ blobs: { ...blobs, get } })
    expect(events.filter(({ kind }) => kind === 'retrying')).toHaveLength(2)
    expect(events.filter(({ kind }) => kind === 'notice')).toEqual([])
    expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7, 8])
  })
})
