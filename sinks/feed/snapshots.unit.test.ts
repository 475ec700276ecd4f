import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { LogRecord } from '../../infra/log/port/log.ts'
import { FEED_SNAPSHOTS_TOPIC, type FeedSnapshotEntry } from '../../infra/runtime/internal/internal-topics.ts'
import { readJson, readRange, toJson } from '../../infra/runtime/internal/json-records.ts'
import { stepBegun } from '../../schemas/events/training.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { changed, FeedLog, SUBSCRIPTION } from '../../testing/feed-log.ts'
import { expectSnapshots, reopened, snapshotOf, trained, withoutSnapshots } from '../../testing/feed-snapshots.ts'
import { STATE_VERSION } from './stored-state.ts'

let log: FeedLog
beforeEach(async () => {
  log = await FeedLog.create()
})
afterEach(() => log.close())

async function last(): Promise<LogRecord> {
  let found: LogRecord | undefined
  for await (const record of readRange(log.log, FEED_SNAPSHOTS_TOPIC, 0, 0n)) found = record
  return found as LogRecord
}

/** Appends the last snapshot again, changed. */
async function replaced(change: (entry: FeedSnapshotEntry) => unknown): Promise<void> {
  const record = await last()
  await log.appendRecords(FEED_SNAPSHOTS_TOPIC, { ...record, value: toJson(change(readJson(record))) })
}

/** A feed ignores the snapshot, and comes to the same state. */
async function expectIgnored(reports: readonly unknown[], found = reopened(log)): Promise<void> {
  const { snapshot, state, reported } = await found
  expect(snapshot).toBeUndefined()
  expect(reported).toEqual(reports)
  expect(state.stored()).toEqual((await reopened(log, withoutSnapshots)).state.stored())
}

test('a consumer is opened from its snapshot and the events after it, as from all events', () => expectSnapshots(log))

test('a consumer that joins last does not read what the others did before it', async () => {
  await log.form(60)
  await trained(log, 12)
  await trained(log, 1, 'other')
  await snapshotOf(log, 1, 'other')
  const { read } = await reopened(log, undefined, 'other')
  expect(read).toBeLessThan(10)
})

test('a snapshot of another version, or of more events than it says, is ignored', async () => {
  await log.form(12)
  await trained(log, 3)
  await snapshotOf(log, 10)
  await replaced((entry) => ({ ...entry, state_version: STATE_VERSION + 1 }))
  await expectIgnored([])
  await replaced((entry) => ({ ...entry, state_version: STATE_VERSION, number: entry.number + 1 }))
  await expectIgnored([expect.stringMatching(/snapshot in .* cannot be read, .*: expected lab after event \d+, found/)])
})

test('a snapshot whose topics were deleted and made again is ignored', async () => {
  await log.form(12)
  await trained(log, 3)
  await snapshotOf(log, 10)
  const topics = async () =>
    (await log.log.topics()).map((topic) => (topic.name === stepBegun.type ? { ...topic, id: 'another' } : topic))
  await expectIgnored(
    [],
    reopened(log, (counting) => changed(counting, { topics })),
  )
  const without_ids = async () => (await log.log.topics()).map((topic) => ({ ...topic, id: '' }))
  await expectIgnored(
    [],
    reopened(log, (counting) => changed(counting, { topics: without_ids })),
  )
  // Cut off, as a copy that was not finished.
  await replaced((entry) => ({ ...entry, topics: entry.topics.map((topic) => ({ ...topic, next: '100000' })) }))
  await expectIgnored([])
})

test('a snapshot whose blob is missing or is no state is ignored, and told', async () => {
  await log.form(12)
  await trained(log, 3)
  await snapshotOf(log, 10)
  const cannot = expect.stringMatching(/consumer lab: its snapshot in .* cannot be read, all its training events are/)
  const { blob } = readJson<FeedSnapshotEntry>(await last())
  await replaced((entry) => ({ ...entry, blob: { ...blob, sha256: '0'.repeat(64) } }))
  await expectIgnored([cannot])
  const other = await log.blobs.put(Buffer.from('{}'), 'application/gzip')
  await replaced((entry) => ({ ...entry, blob: other }))
  await expectIgnored([cannot])
})

test('a snapshot that leaves events out is found out, and all events are read', async () => {
  await log.form(24)
  await trained(log, 3)
  await snapshotOf(log, 10)
  const earlier = readJson<FeedSnapshotEntry>(await last())
  await trained(log, 3)
  const topics = await Promise.all(
    earlier.topics.map(async ({ topic, id }) => {
      const end = (await log.log.endOffsets(topic))[partitionOf('lab', 3)] ?? 0n
      return { topic, id, next: String(end) }
    }),
  )
  await replaced(() => ({ ...earlier, topics }))
  await expectIgnored([expect.stringMatching(/its snapshot does not lead to its events, all of them are read instead/)])
})

test('blobs that are away cost a snapshot and nothing else', async () => {
  await log.form(2)
  const put = async () => {
    throw Object.assign(new Error('the store is away'), { retry: 'later' })
  }
  const blobs: Blobs = { put, get: (ref) => log.blobs.get(ref), has: (ref) => log.blobs.has(ref) }
  const lab = await log.feed({ blobs }).consumer('lab', 'open')
  await lab.subscribe(SUBSCRIPTION, 'beginning')
  await lab.startRun({ run: 'r1', attempt: 'a', world_size: 1, resume: null, lineage: null })
  while (log.reported.length === 0) await pause(5)
  expect(log.reported).toEqual(['consumer lab: no snapshot is taken now: the store is away'])
  expect(lab.failure).toBeUndefined()
  await lab.retire('done')
  expect(lab.standing).toMatchObject({ retired: 'done', number: 3 })
})
