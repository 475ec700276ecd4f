import { BlobMissingError, type Blobs } from '../../infra/blobs/blobs.ts'
import type { LogRecord } from '../../infra/log/log.ts'
import { decodeRecord } from '../../infra/runtime/decode-record.ts'
import {
  type ChangelogEntry,
  changelogTopic,
  DEAD_LETTERS_TOPIC,
  type DeadLetter,
} from '../../infra/runtime/internal-topics.ts'
import { readJson } from '../../infra/runtime/json-records.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Batch } from './batch.ts'
import type { RowShape } from './table-rows.ts'

const NO_BLOBS: Pick<Blobs, 'get'> = {
  get: async ({ sha256 }) => {
    throw new BlobMissingError(`blob ${sha256} is needed, and the sink was opened without a blob store`)
  },
}

/** What rows of an event are made with. */
export interface Taking {
  readonly vocabulary: Catalogue
  readonly blobs: Blobs | undefined
  /** By event type. */
  readonly shapes: ReadonlyMap<string, RowShape>
  readonly partitionsOf: (topic: string) => number | undefined
}

/**
 * An event's rows, or a dead letter; what is neither is noted as unreadable.
 * @throws Error when a blob cannot be reached now: the record comes again.
 */
export async function takeEvent(record: LogRecord, batch: Batch, taking: Taking): Promise<void> {
  const { vocabulary, blobs, shapes, partitionsOf } = taking
  try {
    if (record.topic === DEAD_LETTERS_TOPIC) return batch.addDeadLetter(record, readJson<DeadLetter>(record))
    const partitions = partitionsOf(record.topic) ?? 1
    const event = await decodeRecord(record, vocabulary, partitions, (blobs ?? NO_BLOBS) as Blobs)
    batch.addEvent(shapes.get(record.topic) as RowShape, event, record)
  } catch (cause) {
    // A system error has a code: a blob that cannot be reached now. Everything else is the record's own fault.
    if (!(cause instanceof PoisonError) && cause instanceof Error && 'code' in cause) throw cause
    const ce_id = record.headers.find(({ name }) => name === 'ce_id')?.value ?? null
    const error = cause instanceof Error ? cause.message : String(cause)
    batch.addUnreadable(record.topic, record.partition, record.offset, ce_id, error)
  }
}

/** The state of a key, from a fold's changelog. */
export function takeState(record: LogRecord, batch: Batch): void {
  if (record.key === null) return
  const state = record.value === null ? null : JSON.stringify(readJson<ChangelogEntry>(record).state)
  const processor = record.topic.slice(changelogTopic('').length)
  batch.addState({ processor, partition: record.partition, key: record.key, state })
}
