import { expect, test } from 'vitest'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import type { LogRecord, NewRecord } from '../../log/port/log.ts'
import { CLOCKS_KEY } from '../execute/state-keys.ts'
import { ForeignRecordError } from './foreign-record.ts'
import {
  changelogEntryIn,
  deadLetterIn,
  journalEntryIn,
  skippedIn,
  snapshotEntryIn,
  topologyIn,
} from './internal-records.ts'
import { toJson } from './json-records.ts'

const PARTITIONS = 4
/** The partition of ann's records. */
const HOME = partitionOf('ann', PARTITIONS)
const value = (data: unknown) => ({ key: 'ann', headers: [], value: toJson(data) })
const bytes = (key: string | null = 'ann') => ({ key, headers: [], value: Buffer.from([0, 255, 128, 7, 1]) })

const NO_ENTRIES: [string, NewRecord][] = [
  ['random bytes', bytes()],
  ['no bytes', { ...bytes(), value: Buffer.alloc(0) }],
  ['JSON of another shape', value({ hello: 'world' })],
  ['an array', value([1, 2])],
  ['null', value(null)],
  ['a number', value(7)],
]

/** A key of another partition than ann's. */
const ELSEWHERE = 'cdefghij'
  .split('')
  .find((key) => partitionOf(key, PARTITIONS) !== partitionOf('ann', PARTITIONS)) as string

const ENTRY = { version: 1, variant: [], topics: ['test.added'], runs: [[0, 1]] }

const BLOB = { sha256: 'a'.repeat(64), bytes: 1, media_type: 'x' }
const OFFSETS = { changelog_next: '0', journal_next: '0' }
const SNAPSHOT = { processor: 'count', partition: 9, state_version: 1, ...OFFSETS, keys: 0, blob: BLOB }
const NULLS = { ce_id: null, ce_type: null, rows: null, key: null, value_base64: null, value_blob: null }
const PLACE = { topic: 'test.added', partition: 9, offset: '0' }
const LETTER = { processor: 'count', failure: 'bug', ...PLACE, error: 'x', headers: [], ...NULLS }

const NO_JOURNAL: [string, NewRecord][] = [
  ...NO_ENTRIES,
  ['a tombstone', { ...bytes(), value: null }],
  ['a run of a topic that it does not list', value({ ...ENTRY, runs: [[1, 1]] })],
  ['a run of no records', value({ ...ENTRY, runs: [[0, 0]] })],
  ['a run of a fraction', value({ ...ENTRY, runs: [[0, 1.5]] })],
  ['more dead letters than records', value({ ...ENTRY, taken: { dead: [[0, 1_000_000_000]] } })],
  ['more batched than read', value({ ...ENTRY, taken: { dead: [], batches: [[0, 1_000_000_000]] } })],
]

const NO_CHANGELOG: [string, NewRecord][] = [
  ...NO_ENTRIES,
  ['a record without a key', { ...value({ state_version: 1, state: { sum: 5 } }), key: null }],
  ['a tombstone without a key', { key: null, headers: [], value: null }],
  ['an entry without a state', value({ state_version: 1 })],
  ['invalid times of clocks', { ...value({ state_version: 0, state: { wall: 5 } }), key: CLOCKS_KEY }],
  ['an unknown entry of the task', { ...value({ state_version: 0, state: {} }), key: '\u0000other' }],
  ['the state of a key of another partition', { ...value({ state_version: 1, state: { sum: 5 } }), key: ELSEWHERE }],
  ['a tombstone of a key of another partition', { key: ELSEWHERE, headers: [], value: null }],
]

const NO_OTHERS: [string, NewRecord][] = [
  ...NO_ENTRIES,
  ['a tombstone', { ...bytes(), value: null }],
  ['an entry of another partition', value(SNAPSHOT)],
  ['a dead letter of another partition', value(LETTER)],
]

const NO_SNAPSHOT: [string, NewRecord][] = [
  ...NO_ENTRIES,
  ['a tombstone without a key', { ...bytes(null), value: null }],
  ['a tombstone of another partition', { ...bytes('count/9'), value: null }],
  ['an entry of another partition', { ...value(SNAPSHOT), key: 'count/9' }],
  ['an entry under another key', value({ ...SNAPSHOT, partition: HOME })],
  ['an entry without a key', { ...value({ ...SNAPSHOT, partition: HOME }), key: null }],
]

const at = (topic: string, record: NewRecord): LogRecord => {
  return { topic, partition: HOME, offset: 7n, appended_ms: 0, ...record }
}

test.each([
  ...NO_JOURNAL.map(([what, record]) => [what, 'journal', journalEntryIn, record] as const),
  ...NO_CHANGELOG.map(([what, record]) => [what, 'changelog', changelogEntryIn, record] as const),
  ...NO_SNAPSHOT.map(([what, record]) => [what, 'snapshot', snapshotEntryIn, record] as const),
  ...NO_OTHERS.map(([what, record]) => [what, 'topology', topologyIn, record] as const),
  ...NO_OTHERS.map(([what, record]) => [what, 'dead letter', deadLetterIn, record] as const),
  ...NO_OTHERS.map(([what, record]) => [what, 'skipped record', skippedIn, record] as const),
])('%s is no %s', (_what, topic, reading, record) => {
  expect(() => reading(at(topic, record), PARTITIONS)).toThrow(ForeignRecordError)
  expect(() => reading(at(topic, record), PARTITIONS)).toThrow(
    new RegExp(`^${topic} partition ${HOME} offset 7: expected .*, found .*\\./plumbline skip ${topic} ${HOME} 7 `),
  )
})

test.each([
  ['an entry', value({ ...ENTRY, taken: { dead: [[0, 1]], batches: [] } }), journalEntryIn],
  ['an entry of a release before this one', value(ENTRY), journalEntryIn],
  [
    'a reset',
    value({ ...ENTRY, topics: [], runs: [], reset: { outputs: { 'test.added': ['4', '0'] } } }),
    journalEntryIn,
  ],
] as const)('records of this program are read whole: a journal with %s', (_, record, reading) => {
  expect(reading(at('journal', record), PARTITIONS)).toEqual(JSON.parse(Buffer.from(record.value).toString()))
})

test('a snapshot counts until a tombstone of its key', () => {
  const key = `count/${HOME}`
  const entry = { ...SNAPSHOT, partition: HOME }
  expect(snapshotEntryIn(at('_snapshots', { ...value(entry), key }), 1)).toEqual({
    processor: 'count',
    snapshot: entry,
  })
  const tombstone = { key, headers: [], value: null }
  expect(snapshotEntryIn(at('_snapshots', tombstone), 1)).toEqual({ processor: 'count', snapshot: undefined })
})
