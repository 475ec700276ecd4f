import type { EventType } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import type { Partitions } from '../../../schemas/wire/partitions.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import type { Log, LogRecord } from '../../log/port/log.ts'
import { listed, type Misplaced } from '../state/misplaced.ts'

export interface Place {
  readonly log: Log
  readonly blobs: Blobs
}

export interface ReplayOptions {
  readonly from: Place
  readonly to: Place
  /** Names the replay: the target stores its positions under this group, committed with the records. */
  readonly name: string
  readonly events: readonly EventType[]
  readonly vocabulary: Catalogue
  /**
   * `whole`: all events and how they were computed, so that `verify` passes on the copy. `sources`: only events that
   * cannot be recomputed, without ticks, for a run that computes the rest.
   */
  readonly what: 'whole' | 'sources'
  /** Only with `sources`: partition counts of new topics (default: as in the target, else as in the source). */
  readonly partitions?: Partitions
  /** Only with `sources`: selects among their records. */
  readonly wanted?: ((record: LogRecord) => boolean) | undefined
  /** Only with `sources`: where to start, per topic and partition. */
  readonly starts?: ReadonlyMap<string, readonly bigint[]> | undefined
  /** Speed relative to the original `ce_time` spacing; Infinity does not wait. */
  readonly speed: number
  readonly signal: AbortSignal
  /** Asked before each record. The function it returns is called after a commit and resolves to resume. */
  readonly paused?: (() => (() => Promise<void>) | undefined) | undefined
  readonly onProgress?: ((progress: ReplayProgress) => void) | undefined
  /** Bounds of one transaction. */
  readonly batch_records?: number
  readonly batch_bytes?: number
}

export interface ReplayProgress {
  /** Progress out of `of`: start offsets plus records processed, so earlier attempts are included. */
  readonly done: number
  readonly of: number
  /** Until the last event is due; undefined when the replay does not wait. */
  readonly left_ms: number | undefined
}

export interface Replayed {
  /** Records appended now. */
  readonly records: number
  readonly blobs: number
  /** Referenced by a record, but missing in the source's blob store too. */
  readonly missing_blobs: number
  /** False: stopped before the end; running the same replay again resumes there. */
  readonly complete: boolean
}

/** The replay is refused: records would mix with others in the target, or the source is incomplete or another log. */
export class ReplayRefusedError extends Error {
  override readonly name = 'ReplayRefusedError'
  readonly retry = 'never'
}

/** The records copied so far are from a different log than the one that is read now. */
export function otherLogError(
  { from, to }: Pick<ReplayOptions, 'from' | 'to'>,
  misplaced: readonly Misplaced[],
): ReplayRefusedError {
  return new ReplayRefusedError(
    `${to.log.address} has a part of ${from.log.address}, which is another log now: ${listed(misplaced)}; replay it into another place`,
  )
}
