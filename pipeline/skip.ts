import { type Log, type LogRecord, OffsetGoneError } from '../infra/log/port/log.ts'
import { decodeRecord } from '../infra/runtime/execute/decode-record.ts'
import { storedFold } from '../infra/runtime/execute/stored-fold.ts'
import { ForeignRecordError } from '../infra/runtime/internal/foreign-record.ts'
import { type Reading, readingOf } from '../infra/runtime/internal/internal-records.ts'
import { changelogTopic } from '../infra/runtime/internal/internal-topics.ts'
import { skipRecord } from '../infra/runtime/internal/skipped-records.ts'
import { changelogReading } from '../infra/runtime/state/state-store.ts'
import { PoisonError } from '../schemas/wire/codec.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import type { DataFolder } from './data-folder.ts'
import { UsageError } from './usage-error.ts'
import { wiringOf } from './wiring.ts'

interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

export interface Skipped {
  /** `already`: it was skipped before, and nothing was added. */
  readonly outcome: 'skipped' | 'already'
  /** Why no reader can read it. */
  readonly error: string
}

/**
 * Makes every reader skip a record that none can read, from now on and in copies of the log.
 *
 * @throws UsageError when there is no such record, or it is sound
 */
export async function skip(folder: DataFolder, place: Place): Promise<Skipped> {
  const record = await recordAt(folder.log, place)
  const error = record === undefined ? 'retention removed it' : await faultOf(record, folder)
  const is_new = await skipRecord(folder.log, record ?? place, error)
  return { outcome: is_new ? 'skipped' : 'already', error }
}

/** @returns undefined where retention has removed it */
async function recordAt(log: Log, { topic, partition, offset }: Place): Promise<LogRecord | undefined> {
  const there = (await log.topics()).find(({ name }) => name === topic)
  if (there === undefined || partition >= there.partitions) {
    throw new UsageError(`skip: ${log.address} has no partition ${partition} of ${topic}`, 'see ./plumbline lag --json')
  }
  const page = await log.read({ topic, partition, from: offset, max_bytes: 1 }).catch((error: unknown) => {
    if (error instanceof OffsetGoneError && vocabulary.get(topic) !== undefined) return undefined
    throw error
  })
  const [record] = page?.records ?? []
  if (page !== undefined && record?.offset !== offset) {
    throw new UsageError(
      `skip: ${topic} partition ${partition} has no record at offset ${offset}`,
      `see ./plumbline tail ${topic}`,
    )
  }
  return record
}

/** Why no reader can read the record. @throws UsageError when it is readable */
async function faultOf(record: LogRecord, { log, blobs }: DataFolder): Promise<string> {
  const { topic, partition, offset } = record
  const partitions = (await log.endOffsets(topic)).length
  try {
    if (vocabulary.get(topic) === undefined) (await readingIn(topic))(record, partitions)
    else await decodeRecord(record, vocabulary, partitions, blobs)
  } catch (error) {
    if (error instanceof ForeignRecordError || error instanceof PoisonError) return (error as Error).message
    throw error
  }
  throw new UsageError(
    `skip: ${topic} partition ${partition} offset ${offset} is sound: it is read, and what follows from it would be missing`,
    'name the record that an error named',
  )
}

/**
 * How records of an internal topic are read. States of this release's processors are checked by their schema.
 * @throws UsageError for any other topic
 */
export async function readingIn(topic: string): Promise<Reading<unknown>> {
  const [, name] = topic.split(changelogTopic(''))
  const stage = (await wiringOf({})).stages.find((candidate) => candidate.name === name)
  const processor = stage?.create(stage.variant)
  const fold = processor && storedFold(processor)
  if (fold !== undefined) return changelogReading(fold)
  const reading = readingOf(topic)
  if (reading !== undefined) return reading
  throw new UsageError(`skip: ${topic} is no topic that a reader of ours reads`, 'see ./plumbline topology')
}
