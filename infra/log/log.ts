/**
 * The log port. A driver (LMDB, Kafka, memory) implements these interfaces and passes `conformance.ts`; nothing of a
 * driver's own types leaks through.
 *
 * What every driver promises:
 * - Order within a partition. Offsets strictly increase and may have gaps; nothing may be derived from a difference.
 * - A transaction is all or nothing, also across a kill. A reader never sees an open or aborted one.
 * - A producer opened under a transactional id fences every earlier one with that id: whatever the earlier one
 *   commits from then on fails with `FencedError` and changes nothing.
 * - Partition p of every topic that a group reads has one owner in that group at a time, the same for all those
 *   topics. An owner that lost p cannot commit positions of p: `FencedError`, and its transaction changes nothing.
 * - A lease's end only permits a takeover: an owner that fell silent and that nobody replaced goes on as the owner.
 * - When `commit()` resolves, what it wrote survives the loss of the process and, at the default durability, of power.
 * - Reading is bounded in bytes (`max_bytes`, but always at least one record when there is one).
 */
export interface Log {
  /** What a person would type after `--log`, for messages. */
  readonly address: string

  /**
   * Creates what is not there yet and leaves alone what is.
   * @throws TopicMismatchError when a topic exists with another number of partitions.
   */
  createTopics(topics: readonly TopicSpec[]): Promise<void>
  /** Every topic with its partition count, internal ones too, sorted by name. */
  topics(): Promise<readonly TopicSpec[]>

  /** Per partition, the offset of the first record that is still there. */
  beginningOffsets(topic: string): Promise<readonly bigint[]>
  /**
   * Per partition, an offset at which a reader has seen everything committed when this was asked. An upper bound:
   * transaction markers may lie between the last record and it.
   */
  endOffsets(topic: string): Promise<readonly bigint[]>

  /**
   * Reads committed records without being part of a group: seek and replay from any offset.
   * `next` is where to go on, also when no record came because only gaps lay there. Never waits for new records.
   * Beyond the end nothing comes and `next` is `from`.
   * @throws OffsetGoneError when retention has removed `from`.
   */
  read(request: ReadRequest): Promise<ReadResult>

  /**
   * Deletes the records of a partition below an offset, at most up to the end; retention calls it. Once it resolves,
   * `beginningOffsets` says so and reading from below throws `OffsetGoneError`.
   */
  deleteBefore(topic: string, partition: number, before: bigint): Promise<void>

  /** Opens the one live producer of this id and fences earlier ones. */
  producer(options: { readonly transactional_id: string }): Promise<Producer>

  /** Becomes a member of a consumer group. */
  join(options: JoinOptions): Promise<Member>

  /** A group's committed positions, sorted by topic and partition. Partitions without one are absent. */
  committed(group: string): Promise<readonly Position[]>

  /** Aborts what is open, lets the members leave, and gives back what the process holds. */
  close(): Promise<void>
}

export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  /** What a log that deletes by itself may delete; `for_ever` when left out. Not told by `topics()`. */
  readonly retention?: TopicRetention
}

/** `latest_per_key`: all but the last record of each key may go; every record has one. */
export type TopicRetention = 'for_ever' | 'may_expire' | 'latest_per_key'

export interface Header {
  readonly name: string
  readonly value: string
}

/** What is appended: the producer's part of a record. */
export interface NewRecord {
  readonly key: string | null
  readonly headers: readonly Header[]
  /** `null` is a tombstone: the key has no value any more. */
  readonly value: Uint8Array | null
}

export interface LogRecord extends NewRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  /** When the log took it, milliseconds since the epoch. Never part of an event, never used by a processor. */
  readonly appended_ms: number
}

export interface Position {
  readonly topic: string
  readonly partition: number
  /** Offset of the next record to read. */
  readonly next: bigint
}

export interface ReadRequest {
  readonly topic: string
  readonly partition: number
  readonly from: bigint
  readonly max_bytes: number
}

export interface ReadResult {
  readonly records: readonly LogRecord[]
  /** Of them: keys, headers and values. */
  readonly bytes: number
  readonly next: bigint
}

/** Appends atomically, one transaction at a time. */
export interface Producer {
  /**
   * @throws Error while the transaction before is neither committed nor aborted.
   * @throws FencedError when an earlier commit has found out that a later producer has the id.
   */
  begin(): Transaction
  close(): Promise<void>
}

export interface Transaction {
  /**
   * Buffers or sends; not visible before `commit`. Within one partition, the order of calls is the order in the log.
   * The value's bytes must stay as they are until the transaction has ended. An unknown topic or partition is reported
   * here or by `commit`, as `UnknownTopicError`.
   */
  append(topic: string, partition: number, record: NewRecord): void
  /**
   * Commits a member's progress together with the appends. `claim` is what `poll` returned with the records that
   * these positions follow: ownership is compared as of then, not as of now.
   * @throws Error when the claim does not cover one of the partitions.
   */
  positions(claim: Claim, positions: readonly Position[]): void
  /**
   * Commits progress of a group without members, e.g. how far a generator has come. The transactional id fences.
   * @throws Error at commit when the group has live members.
   */
  standalonePositions(group: string, positions: readonly Position[]): void
  /**
   * @throws FencedError when the producer or a claim is no longer current; nothing has been written then.
   * @throws LogFullError when the disk or the map has no room; nothing has been written.
   * @throws LogBusyError when another process kept the log's lock for too long; nothing has been written.
   * @throws LogUnreachableError when the log cannot be reached; nothing has been written.
   * @throws RecordTooLargeError when a record is larger than the log takes; nothing has been written.
   * @throws CommitOutcomeUnknownError when the connection was lost while the transaction ended.
   * After any error the transaction has ended. What it held is gone: a retry begins a new one.
   */
  commit(): Promise<void>
  abort(): Promise<void>
}

export interface JoinOptions {
  readonly group: string
  /**
   * All with the same number of partitions (else `TopicMismatchError`): partition p of each goes to the same member.
   * All live members of a group read the same topics (else an error that says which).
   */
  readonly topics: readonly string[]
  /** How long a silent member keeps its partitions. */
  readonly session_timeout_ms: number
}

/** Proof of ownership at the time of a poll; opaque to everyone but the driver that made it. */
export interface Claim {
  readonly group: string
  readonly partitions: readonly number[]
}

export interface Polled {
  readonly records: readonly LogRecord[]
  /** For `Transaction.positions`. */
  readonly claim: Claim
  /** Partitions owned since this poll and not before it: state must be restored before their records are processed. */
  readonly gained: readonly number[]
  /** Partitions owned before and no more: their unsaved work must be dropped. */
  readonly lost: readonly number[]
  /** For each partition read from, where the next poll goes on; later than the last record when gaps follow it. */
  readonly positions: readonly Position[]
}

/** One member of a consumer group, at most one outstanding call at a time. */
export interface Member {
  readonly id: string
  /**
   * Next records of the owned, unpaused partitions, fairly among them, in order within each; waits up to `wait_ms`
   * for the first one. A partition whose gain is reported delivers no record before the poll after that, so that
   * the caller can restore state (and `seek`) in between. Starts at the committed position, or at the beginning.
   * A poll that has gained or lost something returns at once. A partition that was away between two polls is in both
   * lists: someone else may have worked on it.
   * @throws OffsetGoneError when retention has passed a position; nothing is skipped silently: `seek` says where to go on.
   */
  poll(options: { readonly max_bytes: number; readonly wait_ms: number }): Promise<Polled>
  /** Goes on from these positions, e.g. back to the committed ones after an aborted transaction. */
  seek(positions: readonly Position[]): void
  pause(partitions: readonly number[]): void
  resume(partitions: readonly number[]): void
  /** Gives the partitions back at once. */
  leave(): Promise<void>
}

/** Someone else has this producer id or partition now. Drop unsaved work; do not retry. */
export class FencedError extends Error {
  override readonly name = 'FencedError'
}

/** The disk, the map or a quota is full. Nothing was written; retry after room was made. */
export class LogFullError extends Error {
  override readonly name = 'LogFullError'
}

/** Another process holds the log's write lock for too long, e.g. a stopped one. Nothing was written; retry later. */
export class LogBusyError extends Error {
  override readonly name = 'LogBusyError'
}

/** The log cannot be written by this user, e.g. a read-only folder. */
export class LogReadOnlyError extends Error {
  override readonly name = 'LogReadOnlyError'
}

/** The log cannot be reached for now. Of what was to be written nothing was; retry later. */
export class LogUnreachableError extends Error {
  override readonly name = 'LogUnreachableError'
}

/** The log knows this user and refuses, or does not trust it, or cannot do what is needed: waiting does not mend that. */
export class LogDeniedError extends Error {
  override readonly name = 'LogDeniedError'
}

/** A record is larger than the log takes. Nothing was written. */
export class RecordTooLargeError extends Error {
  override readonly name = 'RecordTooLargeError'
}

/**
 * The connection was lost while a transaction ended: it is there as a whole or not at all, and nobody could say which.
 * `committed` tells, once a new producer of the same id has been opened.
 */
export class CommitOutcomeUnknownError extends Error {
  override readonly name = 'CommitOutcomeUnknownError'
}

export class TopicMismatchError extends Error {
  override readonly name = 'TopicMismatchError'
}

export class UnknownTopicError extends Error {
  override readonly name = 'UnknownTopicError'
}

/** What of a partition is not there any more. */
export interface Gone {
  readonly topic: string
  readonly partition: number
  /** What was asked for. */
  readonly from: bigint
  /** Where the log begins now, or later. */
  readonly beginning: bigint
}

/** Retention removed the offset that was asked for. */
export class OffsetGoneError extends Error {
  override readonly name = 'OffsetGoneError'
  readonly gone: Gone

  constructor(message: string, gone: Gone) {
    super(message)
    this.gone = gone
  }
}
