import type { Loaded } from './loader.ts'
import type { UnreadableCounts } from './unreadable-counts.ts'

/** What a pipeline needs of the tables, loaded in this process or in a child process. */
export interface TablesSink {
  /** The socket that answers SQL, if there is one. */
  readonly socket: string | undefined
  readonly health: SinkHealth
  /**
   * Loads until aborted. A failure is reported once and retried forever.
   *
   * @throws Error that a retry cannot fix: tables of another log, a file of another version.
   */
  run(signal: AbortSignal): Promise<void>
  /**
   * Loads everything that the log holds when this is called.
   *
   * @throws Error when the log, a blob or the disk failed. Nothing is lost or doubled: call it again.
   */
  loadOnce(signal?: AbortSignal): Promise<Loaded & { readonly caught_up: boolean }>
  /** An upper bound of the records that are not loaded yet. */
  lag(): Promise<bigint>
  close(): Promise<void>
}

export interface SinkHealth {
  /** Why the tables cannot be loaded now, if so. */
  readonly trouble: string | undefined
  /** How often loading was tried again. */
  readonly retries: number
  /** Records of each topic that are in no table, because they cannot be read. */
  readonly unreadable: UnreadableCounts
  /** How often the process that owns the tables was restarted after it had ended unasked. */
  readonly restarts?: number
  /** Memory of that process, bytes; undefined before it was measured. */
  readonly memory_bytes?: number | undefined
}
