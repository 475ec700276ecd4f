import { z } from 'zod'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import type { LogRecord } from '../../log/port/log.ts'
import { storedBroadcast } from '../execute/held-broadcast.ts'
import { isBroadcastKey, isStateKey } from '../execute/state-keys.ts'
import { ForeignRecordError, foundIn } from './foreign-record.ts'
import {
  type ChangelogEntry,
  changelogTopic,
  DEAD_LETTERS_TOPIC,
  type DeadLetter,
  FEED_SNAPSHOTS_TOPIC,
  type FeedSnapshotEntry,
  type JournalEntry,
  journalTopic,
  type RecordedTopology,
  SKIPPED_TOPIC,
  type SkippedRecord,
  SNAPSHOTS_TOPIC,
  type SnapshotEntry,
  TOPOLOGY_TOPIC,
} from './internal-topics.ts'
import { readJson } from './json-records.ts'

/**
 * Decodes a record of an internal topic. The only way to read one.
 * @param partitions the partition count of its topic
 * @throws ForeignRecordError when it is damaged or another program wrote it.
 */
export type Reading<T> = (record: LogRecord, partitions: number) => T

const whole = z.int().nonnegative()
const digits = z.string().regex(/^\d+$/)
const blobRef = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: whole, media_type: z.string() })
const runs = z.array(z.tuple([whole, whole]))

const journal = z
  .object({
    version: whole,
    variant: z.array(z.string()),
    topics: z.array(z.string()),
    runs: z.array(z.tuple([whole, z.int().positive()])),
    last: z.array(z.string()).optional(),
    reset: z.object({ outputs: z.record(z.string(), z.array(digits)) }).optional(),
    taken: z
      .object({ dead: runs, batches: runs.optional(), unexpired: z.array(z.tuple([whole, z.string()])).optional() })
      .optional(),
  })
  .refine(({ topics, runs }) => runs.every(([index]) => index < topics.length), 'a run of a topic that is not listed')
  // Readers loop up to these counts, so wrong ones are refused here.
  .refine(({ runs, taken }) => {
    const records = runs.reduce((sum, [, count]) => sum + count, 0)
    const is_within = taken?.dead.every(([first, count]) => first + count <= records) ?? true
    const batched = taken?.batches?.reduce((sum, [size, times]) => sum + Math.max(1, size) * times, 0) ?? 0
    return is_within && batched <= records
  }, 'more records taken than the runs count')

const snapshotSchema = z.object({
  processor: z.string(),
  partition: whole,
  state_version: whole,
  changelog_id: z.string().optional(),
  changelog_next: digits,
  journal_next: digits,
  keys: whole,
  blob: blobRef,
})

const feedSnapshot = z.object({
  consumer: z.string(),
  state_version: whole,
  number: whole,
  topics: z.array(z.object({ topic: z.string(), id: z.string(), next: digits })),
  blob: blobRef,
})

const count = z.int().positive()
const topology = z.object({
  fingerprint: z.string(),
  partitions: z.union([count, z.object({ others: count, by_event: z.record(z.string(), count) })]),
  processors: z.array(
    z.object({
      name: z.string(),
      inputs: z.array(z.string()),
      state_version: whole,
      broadcast_version: whole.optional(),
    }),
  ),
})

const deadLetter = z.object({
  processor: z.string(),
  failure: z.enum(['poison', 'bug']),
  topic: z.string(),
  partition: whole,
  offset: digits,
  error: z.string(),
  ce_id: z.string().nullable(),
  ce_type: z.string().nullable(),
  rows: whole.nullable(),
  key: z.string().nullable(),
  headers: z.array(z.object({ name: z.string(), value: z.string() })),
  value_base64: z.string().nullable(),
  value_blob: blobRef.nullable().default(null),
})

const skipped = z.object({
  topic: z.string(),
  partition: whole,
  offset: digits,
  digest: z.string().nullable(),
  error: z.string(),
})

const clockTimes = z.object({ latest: z.string(), ticked: z.string().optional() })
const clocks = z.partialRecord(z.enum(['virtual', 'wall']), clockTimes)

export const journalEntryIn: Reading<JournalEntry> = (record) =>
  checked(record, journal, 'an entry of a journal') as JournalEntry

export const topologyIn: Reading<RecordedTopology> = (record) => checked(record, topology, 'a recorded topology')

/** `snapshot` is undefined for a tombstone: earlier snapshots of this task are void. */
export const snapshotEntryIn: Reading<{ readonly processor: string; readonly snapshot: SnapshotEntry | undefined }> = (
  record,
) => {
  const { key, value, partition } = record
  const suffix = `/${partition}`
  const named = key?.endsWith(suffix) ? key.slice(0, -suffix.length) : undefined
  const snapshot =
    value === null
      ? undefined
      : inItsPartition(record, checked(record, snapshotSchema, 'the entry of a snapshot') as SnapshotEntry)
  const processor = snapshot?.processor ?? named
  if (processor === undefined || processor !== named) {
    throw new ForeignRecordError(record, `the key ${processor ?? 'PROCESSOR'}${suffix}`, `${JSON.stringify(key)}`)
  }
  return { processor, snapshot }
}

export const feedSnapshotIn: Reading<FeedSnapshotEntry> = (record) => {
  const entry = checked(record, feedSnapshot, 'the entry of a snapshot of a consumer')
  if (entry.consumer === record.key) return entry
  throw new ForeignRecordError(record, `the key ${entry.consumer}`, `${JSON.stringify(record.key)}`)
}

export const deadLetterIn: Reading<DeadLetter> = (record) =>
  inItsPartition(record, checked(record, deadLetter, 'a dead letter'))

export const skippedIn: Reading<SkippedRecord> = (record) => checked(record, skipped, 'a record that is to be skipped')

/**
 * A key and its state; `entry` is undefined for a tombstone. Checked by hand, because a restore reads millions of them.
 *
 * @param partitions undefined when the key may be in any partition
 */
export function changelogEntryIn(
  record: LogRecord,
  partitions: number | undefined,
): { readonly key: string; readonly entry: ChangelogEntry | undefined } {
  const { key, value, partition } = record
  const expected = 'an entry of a changelog'
  if (key === null) throw new ForeignRecordError(record, expected, 'a record without a key')
  if (partitions !== undefined && isStateKey(key) && partitionOf(key, partitions) !== partition) {
    const home = partitionOf(key, partitions)
    throw new ForeignRecordError(record, `key ${JSON.stringify(key)} in partition ${home} of ${partitions}`, 'it here')
  }
  if (value === null) return { key, entry: undefined }
  const entry = jsonIn(record, expected) as Partial<ChangelogEntry> | null
  const is_entry = typeof entry === 'object' && Number.isSafeInteger(entry?.state_version) && entry?.state !== undefined
  const of_runtime = isBroadcastKey(key) ? storedBroadcast : clocks
  const is_told = isStateKey(key) || of_runtime.safeParse(entry?.state).success
  if (!is_entry || !is_told) throw new ForeignRecordError(record, expected, foundIn(record))
  return { key, entry: entry as ChangelogEntry }
}

/** How to read records of a topic; undefined if it is not internal. The contents of states are not checked. */
export function readingOf(topic: string): Reading<unknown> | undefined {
  if (topic === DEAD_LETTERS_TOPIC) return deadLetterIn
  if (topic === SNAPSHOTS_TOPIC) return snapshotEntryIn
  if (topic === FEED_SNAPSHOTS_TOPIC) return feedSnapshotIn
  if (topic === TOPOLOGY_TOPIC) return topologyIn
  if (topic === SKIPPED_TOPIC) return skippedIn
  if (topic.startsWith(journalTopic(''))) return journalEntryIn
  if (topic.startsWith(changelogTopic(''))) return (record) => changelogEntryIn(record, undefined)
  return undefined
}

export const isInternal = (topic: string) => readingOf(topic) !== undefined

function jsonIn(record: LogRecord, expected: string): unknown {
  try {
    return readJson(record)
  } catch {
    throw new ForeignRecordError(record, `JSON of ${expected}`, foundIn(record))
  }
}

function checked<T>(record: LogRecord, schema: z.ZodType<T>, expected: string): T {
  const result = schema.safeParse(jsonIn(record, expected))
  if (result.success) return result.data
  const [issue] = result.error.issues
  const where = issue?.path.length ? `${issue.path.join('.')}: ` : ''
  throw new ForeignRecordError(record, expected, `${foundIn(record)} (${where}${issue?.message})`)
}

/** Snapshot entries and dead letters name a partition, which must be the one that they are in. */
function inItsPartition<T extends { readonly partition: number }>(record: LogRecord, entry: T): T {
  if (entry.partition === record.partition) return entry
  throw new ForeignRecordError(record, `an entry of partition ${record.partition}`, `one of ${entry.partition}`)
}
