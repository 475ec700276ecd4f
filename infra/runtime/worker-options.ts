import type { Processor } from '../../processors/processor.ts'
import type { Partitions } from '../../schemas/partitions.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log } from '../log/log.ts'
import type { Beside } from './beside.ts'
import type { Committed } from './commit-tasks.ts'

export interface WorkerOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly processor: Processor
  readonly vocabulary: Catalogue
  /** Partition count of every topic of the topology. */
  readonly partitions: Partitions
  /** Distinguishes this worker from others of the same processor. */
  readonly instance: string
  readonly tuning?: Partial<Tuning>
  readonly onEvent?: (event: WorkerEvent) => void
  /** Told where a commit is; for tests that kill the process there. */
  readonly observe?: (stage: CommitStage) => void
  /** Work beside the poll loop: the calls of an effect. */
  readonly beside?: Beside
}

export type CommitStage = 'processed' | 'appended' | 'committed'

export interface Tuning {
  /** With a backlog. */
  readonly commit_interval_ms: number
  /** Where all that there is has been read: what follows from it need not wait for more. */
  readonly idle_commit_interval_ms: number
  /** Bound on input bytes and on output bytes of one commit, each; while it is written the next one is computed. */
  readonly max_unsaved_bytes: number
  readonly session_timeout_ms: number
  readonly snapshot_every: number
  /** More bugs than this among the last `bug_window` records stop the worker: it is the code, not the records. */
  readonly max_bugs: number
  readonly bug_window: number
  /** Where to go on when retention has removed what was not read yet. */
  readonly when_gone: WhenGone
}

/**
 * `stop`: with an error, and nothing is skipped. `earliest`: at the first record that is still there. `latest`: behind
 * the last one. What is skipped is told, and never comes again.
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
  /** It is a member of its group and has restored what it was given. */
  | { readonly kind: 'joined'; readonly partitions: readonly number[] }
  /** It is no member any more: stopping, fenced, or about to try again. */
  | { readonly kind: 'left' }
  | { readonly kind: 'retrying'; readonly error: Error; readonly wait_ms: number }
  /** Retention was faster: what lay between has not been read. */
  | {
      readonly kind: 'skipped'
      readonly topic: string
      readonly partition: number
      readonly from: bigint
      readonly to: bigint
    }
  | { readonly kind: 'notice'; readonly message: string }
