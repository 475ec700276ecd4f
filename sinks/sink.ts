import type { UnreadableCounts } from './unreadable-record.ts'

/**
 * The sink port. A sink copies the events of a log, and its dead letters, to where other programs read them. A driver
 * (DuckDB, JSON Lines) implements this interface and passes the suite in `conformance/`.
 *
 * What every driver promises:
 * - What a record becomes and the position after it are stored together or not at all, wherever the process is killed.
 *   So each record is stored exactly once: opening again and reading again add nothing. Whether an event that the log
 *   holds twice (the same id in two records) is stored once or twice is for the driver to declare.
 * - Within a partition of a topic, records are stored in the log's order, except those that were unreadable at first.
 * - A position names the topic's id and the last record that was read (`Position.seen`). Another log, a topic that was
 *   deleted and recreated, or an older copy of the log is refused before anything of it is stored; the error says what
 *   to delete or name instead.
 * - A failure of a dependency (the log, a blob, the disk) is reported once and retried forever, with growing pauses.
 *   Nothing is lost meanwhile. An error with `retry: 'never'` ends `run`.
 * - A record that is itself at fault is counted in `health`, listed with its place and the reason, and skipped. It is
 *   never dropped silently. It is read again when the sink is opened, and then with growing pauses: a blob may be back,
 *   or a newer release may have its schema. Once it can be read, it is stored and taken off the list in one commit. One
 *   that an operator has every reader skip (`skip`) is taken off the list too.
 * - A sink only reads the log, and nothing waits for it: one that is slow, fails or is killed slows no worker and no
 *   other sink. One that computes in the workers' process yields to them often; to share no processor time, give it a
 *   process of its own (as DuckDB has, or with `run --only`).
 * - What it reads at once is bounded in bytes.
 * - A place that it writes to has one owner. A second process is refused with an error.
 *
 * The smallest driver is a `RecordStore` for `record-sink.ts`, which does all but the storing. A driver that needs more
 * shares how it waits and retries (`retrying.ts`), where it reads (`read-positions.ts`) and in which order
 * (`read-in-order.ts`). `SINK_KINDS` in `kinds.ts` lists those that a run starts at a place of their own.
 */
export interface Sink {
  /** As in `topology`, `run --only` and the label `stage` of metrics. */
  readonly name: string
  readonly health: SinkHealth
  /**
   * Loads until aborted; what is in hand then is still committed.
   *
   * @throws Error that a retry cannot fix: a place of another log, of another version, or damaged.
   */
  run(signal: AbortSignal): Promise<void>
  /**
   * Reads every unreadable record again, then loads everything that the log holds when this is called; or until aborted.
   *
   * @throws Error when the log, a blob or the disk failed. Nothing is lost or doubled: call it again.
   */
  loadOnce(signal?: AbortSignal): Promise<LoadedOnce>
  /** An upper bound of the records that are not loaded yet. Waits for the pass that runs now. */
  lag(): Promise<bigint>
  /** For a person: so many unreadable records, and how to list them. */
  unreadableText(count: number): string
  /** Ends the pass that runs now and releases the place; may be called twice. */
  close(): Promise<void>
}

/** A sink at a place of its own (`SinkKind`), which commands open too. */
export interface PlacedSink extends Sink {
  /** Reads every unreadable record again, and no new ones. @throws Error as `loadOnce` */
  reread(): Promise<void>
}

export interface LoadedOnce {
  /** How many records were read, or read again and stored. */
  readonly records: number
  /** Nothing was left to read at the end. */
  readonly caught_up: boolean
}

export interface SinkHealth {
  /** Why it cannot load now, if so. */
  readonly trouble: string | undefined
  /** How often loading was tried again. */
  readonly retries: number
  /** Records of each topic that are not stored, because they cannot be read. */
  readonly unreadable: UnreadableCounts
}
