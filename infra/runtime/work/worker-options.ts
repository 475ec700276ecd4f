import type { Processor } from '../../../processors/processor.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import type { Partitions } from '../../../schemas/wire/partitions.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import type { ComputePool } from '../../compute/compute.ts'
import type { Log } from '../../log/port/log.ts'
import type { ModelSessions } from '../../models/model-sessions.ts'
import type { Committed } from './batch.ts'
import type { Beside } from './beside.ts'

export interface WorkerOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly processor: Processor
  readonly vocabulary: Catalogue
  /** Partition count of every topic of the topology. */
  readonly partitions: Partitions
  /** Where the kernels of a transform run; default: the pool that this process shares. */
  readonly compute?: Pick<ComputePool, 'run'>
  /** Where the models of a transform run; default: the sessions that this process shares. */
  readonly models?: Pick<ModelSessions, 'run'>
  /** Distinguishes this worker from others of the same processor. */
  readonly instance: string
  readonly tuning?: Partial<Tuning>
  readonly onEvent?: (event: WorkerEvent) => void
  /** Called at each stage of a commit, for tests that kill the process there. */
  readonly observe?: (stage: CommitStage) => void
  /**
   * Of an event that is routed to every partition, process the copy in the partition of its key alone, unless it is of the
   * broadcast state or a tick: results from outside are wanted once, not once a partition.
   */
  readonly at_home?: boolean
  /** Work concurrent with the poll loop: the calls of an effect. */
  readonly beside?: Beside
}

export type CommitStage = 'processed' | 'appended' | 'committed'

export interface Tuning {
  /** Commit interval with a backlog. */
  readonly commit_interval_ms: number
  /** Commit interval without a backlog: results need not wait for more input. */
  readonly idle_commit_interval_ms: number
  /** Limit for the input bytes of one poll, and for the output bytes that trigger a commit. */
  readonly max_unsaved_bytes: number
  readonly session_timeout_ms: number
  readonly snapshot_every: number
  /** More bugs than this among the last `bug_window` records stop the worker: the code is at fault. */
  readonly max_bugs: number
  readonly bug_window: number
  /** Where to resume when retention has removed unread records. */
  readonly when_gone: WhenGone
}

/**
 * `stop`: stops with an error and skips nothing. `earliest`: resumes at the first retained record. `latest`: resumes
 * after the last one. Skipped records are reported and never read.
 */
export const WHEN_GONE = ['stop', 'earliest', 'latest'] as const
export type WhenGone = (typeof WHEN_GONE)[number]

export const DEFAULT_TUNING: Tuning = {
  commit_interval_ms: 100,
  idle_commit_interval_ms: 20,
  max_unsaved_bytes: 4 * 1024 * 1024,
  session_timeout_ms: 10_000,
  snapshot_every: 20_000,
  max_bugs: 20,
  bug_window: 1_000,
  when_gone: 'stop',
}

export type WorkerEvent =
  | ({ readonly kind: 'committed' } & Committed)
  | {
      readonly kind: 'restored'
      readonly partition: number
      readonly changelog_records: number
      readonly rebuilt: boolean
      /** How long it took. */
      readonly ms: number
    }
  | { readonly kind: 'lost'; readonly partitions: readonly number[] }
  /** It is a member of its group and has restored its assigned partitions. */
  | { readonly kind: 'joined'; readonly partitions: readonly number[] }
  /** It is no longer a member: stopping, fenced, or about to retry. */
  | { readonly kind: 'left' }
  | { readonly kind: 'retrying'; readonly error: Error; readonly wait_ms: number }
  /** Retention removed records before they were read: offsets from `from` up to `to` were skipped. */
  | {
      readonly kind: 'skipped'
      readonly topic: string
      readonly partition: number
      readonly from: bigint
      readonly to: bigint
    }
  | { readonly kind: 'notice'; readonly message: string }
