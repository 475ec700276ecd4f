import type { EventType } from '../../schemas/event.ts'
import type { Partitions } from '../../schemas/partitions.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log, LogRecord } from '../log/log.ts'

export interface Place {
  readonly log: Log
  readonly blobs: Blobs
}

export interface ReplayOptions {
  readonly from: Place
  readonly to: Place
  /** Names the work: how far it has come is kept in the target under it, in the transactions that bring the records. */
  readonly name: string
  readonly events: readonly EventType[]
  readonly vocabulary: Catalogue
  /**
   * `whole`: everything that was said and how it was computed, so that `verify` passes on the copy. `sources`: only
   * what cannot be computed again, less ticks, for a run that computes the rest.
   */
  readonly what: 'whole' | 'sources'
  /** Only with `sources`: of the topics that are made; as in the log that is replayed when left out. */
  readonly partitions?: Partitions
  /** Only with `sources`: which records, of those. */
  readonly wanted?: (record: LogRecord) => boolean
  /** Only with `sources`: where to begin, per topic and partition. */
  readonly starts?: ReadonlyMap<string, readonly bigint[]>
  /** How many times faster than it happened, by `ce_time`; Infinity does not wait. */
  readonly speed: number
  readonly signal: AbortSignal
  /** Asked between transactions. What it answers is called when nothing is held, and returns when the replay goes on. */
  readonly paused?: () => (() => Promise<void>) | undefined
  readonly onProgress?: (progress: ReplayProgress) => void
  /** Bounds of one transaction. */
  readonly batch_records?: number
  readonly batch_bytes?: number
}

export interface ReplayProgress {
  /** Records passed since the beginning, those of earlier attempts included, of so many. */
  readonly done: number
  readonly of: number
  /** Until the last event is due; undefined when nothing is waited for. */
  readonly left_ms: number | undefined
}

export interface Replayed {
  /** Records appended now. */
  readonly records: number
  readonly blobs: number
  /** Named by a record, and not even the log that was replayed has them. */
  readonly missing_blobs: number
  /** False: stopped before the end; the same replay goes on from there. */
  readonly complete: boolean
}

/** The target holds what would come between this log's records and their order. */
export class ReplayRefusedError extends Error {
  override readonly name = 'ReplayRefusedError'
}
