import { BlobMissingError, type Blobs } from '../../infra/blobs/blobs.ts'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { decodeRecord } from '../../infra/runtime/execute/decode-record.ts'
import { ForeignRecordError } from '../../infra/runtime/internal/foreign-record.ts'
import { changelogEntryIn, deadLetterIn } from '../../infra/runtime/internal/internal-records.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { SkippedRecords } from '../../infra/runtime/internal/skipped-records.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'
import { PoisonError } from '../../schemas/wire/codec.ts'
import { UnloadedRecordError } from '../unloaded-record.ts'
import type { Batch } from './duckdb-batch.ts'
import { type RowShape, UnfitValueError } from './table-rows.ts'

const NO_BLOBS: Pick<Blobs, 'get'> = {
  get: async ({ sha256 }) => {
    throw new BlobMissingError(`blob ${sha256} is needed, and the sink was opened without a blob store`)
  },
}

/** What is needed to make the rows of an event. */
export interface Taking {
  readonly vocabulary: Catalogue
  readonly blobs: Blobs | undefined
  /** By event type. */
  readonly shapes: ReadonlyMap<string, RowShape>
  readonly partitionsOf: (topic: string) => number | undefined
}

/**
 * Adds an event's rows, or a dead letter. A record that is itself at fault is listed as unreadable: loading continues
 * after it, and it is reread later.
 *
 * @returns whether its rows are in the batch
 * @throws UnloadedRecordError for any other cause (an unreachable blob store, a bug): the position stays.
 */
export async function takeEvent(record: LogRecord, batch: Batch, taking: Taking): Promise<boolean> {
  const { vocabulary, blobs, shapes, partitionsOf } = taking
  try {
    if (record.topic === DEAD_LETTERS_TOPIC) {
      batch.addDeadLetter(record, deadLetterIn(record, partitionsOf(record.topic) ?? 1))
      return true
    }
    const partitions = partitionsOf(record.topic) ?? 1
    const event = await decodeRecord(record, vocabulary, partitions, (blobs ?? NO_BLOBS) as Blobs)
    batch.addEvent(shapes.get(record.topic) as RowShape, event, record)
    return true
  } catch (cause) {
    if (!isAtFault(cause)) throw new UnloadedRecordError(record, cause)
    const ce_id = record.headers.find(({ name }) => name === 'ce_id')?.value ?? null
    batch.addUnreadable(record.topic, record.partition, record.offset, ce_id, cause.message)
    return false
  }
}

const isAtFault = (cause: unknown): cause is Error =>
  cause instanceof PoisonError || cause instanceof ForeignRecordError || cause instanceof UnfitValueError

/**
 * Adds the state of a key, from a fold's changelog.
 * @throws ForeignRecordError when the record is no changelog entry, unless every reader was told to skip it.
 */
export async function takeState(record: LogRecord, batch: Batch, log: Log): Promise<void> {
  try {
    const { key, entry } = changelogEntryIn(record, undefined)
    const state = entry === undefined ? null : JSON.stringify(entry.state)
    const processor = record.topic.slice(changelogTopic('').length)
    batch.addState({ processor, partition: record.partition, key, state })
  } catch (error) {
    if (!(error instanceof ForeignRecordError)) throw error
    if (!(await SkippedRecords.read(log)).has(record)) throw error
  }
}
