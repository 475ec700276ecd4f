/**
 * The log port. A driver (LMDB, Kafka, memory) implements these interfaces and passes the suite in `conformance/`. No
 * type of a driver's own leaks through.
 *
 * What every driver promises:
 * - Order within a partition. Offsets strictly increase and may have gaps: the difference of two is not a count.
 * - A transaction is atomic, also across a kill. A reader never sees an open or aborted one.
 * - A producer opened under a transactional id fences every earlier one with that id: each later commit of an earlier
 *   one fails with `FencedError` and changes nothing.
 * - Partition p of every topic that a group reads has one owner in that group at a time, the same for all those
 *   topics. An owner that lost p cannot commit positions of p: `FencedError`, and its transaction changes nothing.
 * - An expired lease only permits a takeover: a silent owner stays the owner until another member replaces it.
 * - When `commit()` resolves, its writes survive the loss of the process and, at the default durability, of power.
 * - Reading is bounded in bytes (`max_bytes`, but always at least one record when there is one).
 * - A topic that is deleted and recreated is another topic, with another id. Positions name the topic that they were
 *   read in and the last record before them. A member's positions are refused if its topic was recreated meanwhile.
 */
export interface Log {
  /** As a person would type it after `--log`; for messages. */
  readonly address: string

  /**
   * Creates the topics that do not exist yet and leaves the others alone.
   * @throws TopicMismatchError when a topic exists with another number of partitions.
   */
  createTopics(topics: readonly TopicSpec[]): Promise<void>
  /**
   * Every topic with its partition count and its id, internal ones too, sorted by name.
   * @param names only those of these that exist, which is cheaper
   */
  topics(names?: readonly string[]): Promise<readonly Topic[]>

  /** Per partition, the offset of the first retained record. */
  beginningOffsets(topic: string): Promise<readonly bigint[]>
  /**
   * Per partition, an offset at which a reader has seen everything committed at the time of the call. An upper bound:
   * transaction markers may lie between the last record and it.
   */
  endOffsets(topic: string): Promise<readonly bigint[]>

  /**
   * Reads committed records without being part of a group: seek and replay from any offset.
   * `next` is the offset to read from next; it also passes gaps that hold no record. Never waits for new records.
   * Beyond the end the result is empty and `next` is `from`.
   * @throws OffsetGoneError when retention has removed `from`.
   * @throws RecordDamagedError when the record at `from` is unreadable; the records before it are returned first.
   */
  read(request: ReadRequest): Promise<ReadResult>

  /**
   * Deletes the records of a partition below an offset, at most up to the end; retention calls it. Once it resolves,
   * `beginningOffsets` returns the new beginning and reading from below throws `OffsetGoneError`.
   */
  deleteBefore(topic: string, partition: number, before: bigint): Promise<void>

  /**
   * Has the log delete no record of these topics by itself; those that do not exist are left out. Absent where it never
   * does.
   * @throws LogDeniedError when it deletes some and this user may not change that.
   */
  keepForEver?(topics: readonly string[]): Promise<KeptTopics>

  /** Opens the one live producer of this id and fences earlier ones. */
  producer(options: { readonly transactional_id: string }): Promise<Producer>

  /** Becomes a member of a consumer group. */
  join(options: JoinOptions): Promise<Member>

  /** A group's committed positions, sorted by topic and partition. Partitions without one are absent. */
  committed(group: string): Promise<readonly Position[]>

  /**
   * Reads every record's bytes without decoding them, and reports which are intact. Absent where the log verifies its
   * own storage, as a Kafka broker does.
   */
  integrity?(): Promise<Integrity>

  /** Aborts open transactions, lets the members leave, and releases the process's resources. */
  close(): Promise<void>
}

/** Counts are of records, in all topics. */
export interface Integrity {
  /** Intact according to their checksum. */
  readonly checksummed: number
  /** Readable, but without a checksum, because an earlier release wrote them. */
  readonly unchecksummed: number
  /** Records that `read` refuses with `RecordDamagedError`, sorted by topic, partition and offset. */
  readonly damaged: readonly Damage[]
  /** Former records that a repair could not copy into this log: `read` skips their offsets. */
  readonly lost: readonly Damage[]
}

export interface KeptTopics {
  /** Those whose settings were changed, and which they had. */
  readonly changed: readonly string[]
  /** Why the settings cannot be seen, if so: nothing was changed. */
  readonly unknown?: string
}

export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  /** What a log with automatic deletion may delete; default `for_ever`. `topics()` does not return it. */
  readonly retention?: TopicRetention
}

export interface Topic extends Omit<TopicSpec, 'retention'> {
  /**
   * Changes when the topic is deleted and recreated. Empty where the log has no topic ids: a Kafka before 2.8, or an
   * embedded log of an earlier release that has not been opened for writing since.
   */
  readonly id: string
}

/** `latest_per_key`: all but the last record of each key may be deleted. Every record has a key. */
export type TopicRetention = 'for_ever' | 'may_expire' | 'latest_per_key'

export interface Header {
  readonly name: string
  readonly value: string
}

/** The producer's part of a record. */
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
  /** When the log appended it, milliseconds since the epoch. Never part of an event, never used by a processor. */
  readonly appended_ms: number
}

export interface Position {
  readonly topic: string
  readonly partition: number
  /** Offset of the next record to read. */
  readonly next: bigint
  /** Identifies what was read up to `next`. Stored and returned unchanged. Absent where an earlier release wrote it. */
  readonly seen?: Seen
}

/** Binds a position to one topic and its content: an offset alone is valid in any topic. */
export interface Seen {
  /** The id of the topic that was read, as `topics()` returned it at that time. */
  readonly topic_id: string
  /** The last record before `next`, if one was read. */
  readonly last?: LastRead
  /** The ids of the topics that store the reader's state, if any. The log does not interpret it. */
  readonly state_in?: string
  /** The process that committed it, where only one may. The log does not interpret it. */
  readonly by?: string
}

export interface LastRead {
  readonly offset: bigint
  readonly appended_ms: number
  /** Hash of the record's content; see `digestOf`. */
  readonly digest: string
}

export interface ReadRequest {
  readonly topic: string
  readonly partition: number
  readonly from: bigint
  readonly max_bytes: number
}

export interface ReadResult {
  readonly records: readonly LogRecord[]
  /** Size of the records: keys, headers and values. */
  readonly bytes: number
  readonly next: bigint
}

/** Appends atomically, one transaction at a time. */
export interface Producer {
  /**
   * @throws Error while the previous transaction is neither committed nor aborted.
   * @throws FencedError when an earlier commit has found that a later producer has the id.
   */
  begin(): Transaction
  close(): Promise<void>
}

export interface Transaction {
  /**
   * Buffers or sends; not visible before `commit`. Within one partition, the order of calls is the order in the log.
   * The value's bytes must not change until the transaction has ended. A topic or partition that does not exist is
   * reported here or by `commit`, as `UnknownTopicError`.
   */
  append(topic: string, partition: number, record: NewRecord): void
  /**
   * Commits a member's progress together with the appends. `claim` is what `poll` returned with the records that
   * these positions follow. On commit the ownership at the time of that poll must still be current, and so must the
   * topic that each position was read in (`seen`).
   * @throws Error when the claim does not cover one of the partitions.
   */
  positions(claim: Claim, positions: readonly Position[]): void
  /**
   * Commits progress of a group without members, e.g. how far a generator has run. The transactional id fences. The
   * positions may refer to topics of another log, so their topic ids are not compared.
   * @throws Error at commit when the group has live members.
   */
  standalonePositions(group: string, positions: readonly Position[]): void
  /**
   * @throws FencedError when the producer or a claim is no longer current; nothing has been written then.
   * @throws TopicReplacedError when a claim's position was read in a topic recreated since; nothing was written.
   * @throws LogFullError when the disk or the map has no room; nothing has been written.
   * @throws LogBusyError when another process kept the log's lock for too long; nothing has been written.
   * @throws LogUnreachableError when the log cannot be reached; nothing has been written.
   * @throws RecordTooLargeError when a record is larger than the log takes; nothing has been written.
   * @throws CommitOutcomeUnknownError when the connection was lost while the transaction ended.
   * After any error the transaction has ended and its appends are dropped: a retry begins a new one.
   */
  commit(): Promise<void>
  abort(): Promise<void>
}

export interface JoinOptions {
  readonly group: string
  /**
   * All have the same number of partitions (else `TopicMismatchError`): partition p of each is given to one member.
   * All live members of a group read the same topics (else an error that lists both sets).
   */
  readonly topics: readonly string[]
  /** How long a silent member keeps its partitions. */
  readonly session_timeout_ms: number
}

/** Proof of ownership at the time of a poll; opaque to all but the driver that created it. */
export interface Claim {
  readonly group: string
  readonly partitions: readonly number[]
}

export interface Polled {
  readonly records: readonly LogRecord[]
  /** For `Transaction.positions`. */
  readonly claim: Claim
  /** Partitions owned from this poll on: state must be restored before their records are processed. */
  readonly gained: readonly number[]
  /** Partitions no longer owned: their unsaved work must be dropped. */
  readonly lost: readonly number[]
  /** For each partition read from, where the next poll continues; later than the last record when gaps follow it. */
  readonly positions: readonly Position[]
}

/** One member of a consumer group, at most one outstanding call at a time. */
export interface Member {
  readonly id: string
  /**
   * Next records of the owned, unpaused partitions, fairly among them, in order within each; waits up to `wait_ms`
   * for the first one. A poll that reports a gained partition delivers no record of it; the next poll may. So the
   * caller can restore state (and `seek`) in between. Starts at the committed position, or at the beginning.
   * A poll that has gained or lost a partition returns at once. A partition that was lost and regained between two
   * polls is in both lists: another member may have processed it.
   * @throws OffsetGoneError when retention has passed a position. Nothing is skipped silently: `seek` sets a new one.
   * @throws RecordDamagedError as `read` does.
   * @throws TopicReplacedError, within seconds, when one of the topics was recreated since its partition was gained;
   * UnknownTopicError while it does not exist.
   */
  poll(options: { readonly max_bytes: number; readonly wait_ms: number }): Promise<Polled>
  /** Continues from these positions, e.g. back at the committed ones after an aborted transaction. */
  seek(positions: readonly Position[]): void
  /**
   * Aborts when the driver learns that the member no longer owns a partition as the last poll reported it: at once,
   * whether the member polls or not, and at the latest with the poll that reports the loss. The reason is a
   * `FencedError`. So long work on the partition's records can be given up: a commit of it would be refused. A driver
   * learns of a takeover as soon as its heartbeats tell: those go on while the member computes. A retained partition
   * keeps its signal through a rebalance; one that is gained, or lost and regained, gets another one. Aborted for
   * partitions that the last poll did not report as owned, and after `leave`.
   */
  ownership(partition: number): AbortSignal
  /**
   * Polls deliver nothing more of these partitions, until they are resumed or lost.
   *
   * @param topics default: all of the member
   */
  pause(partitions: readonly number[], topics?: readonly string[]): void
  /** All topics of these partitions. */
  resume(partitions: readonly number[]): void
  /** Releases the partitions at once. */
  leave(): Promise<void>
}

/** Another process has this producer id or partition now. Drop unsaved work; do not retry. */
export class FencedError extends Error {
  override readonly name = 'FencedError'
  readonly retry = 'later'
}

/** The disk, the map or a quota is full. Nothing was written; free some space, then retry. */
export class LogFullError extends Error {
  override readonly name = 'LogFullError'
  readonly retry = 'later'
}

/** Another process, e.g. a stopped one, holds the log's write lock for too long. Nothing was written; retry later. */
export class LogBusyError extends Error {
  override readonly name = 'LogBusyError'
  readonly retry = 'later'
  readonly remedy: string | undefined

  constructor(message: string, remedy?: string) {
    super(message)
    this.remedy = remedy
  }
}

/** The log cannot be written by this user, e.g. a read-only folder. */
export class LogReadOnlyError extends Error {
  override readonly name = 'LogReadOnlyError'
  readonly retry = 'never'
}

/** The log cannot be reached for now. Nothing was written; retry later. */
export class LogUnreachableError extends Error {
  override readonly name = 'LogUnreachableError'
  readonly retry = 'later'
}

/** The log denies this user access, rejects its credentials, or lacks a needed feature: waiting does not help. */
export class LogDeniedError extends Error {
  override readonly name = 'LogDeniedError'
  readonly retry = 'never'
}

/** A record is larger than the log accepts. Nothing was written. */
export class RecordTooLargeError extends Error {
  override readonly name = 'RecordTooLargeError'
  readonly retry = 'never'
}

/**
 * The connection was lost while a transaction ended. It was committed as a whole or not at all; which of the two is
 * not known until a new producer of the same id has been opened and `committed` is read.
 */
export class CommitOutcomeUnknownError extends Error {
  override readonly name = 'CommitOutcomeUnknownError'
  readonly retry = 'later'
}

export class TopicMismatchError extends Error {
  override readonly name = 'TopicMismatchError'
  readonly retry = 'never'
}

/**
 * A position belongs to an earlier topic of this name, which was deleted and recreated, or replaced by a copy. Waiting
 * does not help, and reading on from the position would start in the middle of the new topic.
 */
export class TopicReplacedError extends Error {
  override readonly name = 'TopicReplacedError'
  readonly retry = 'never'
}

export class UnknownTopicError extends Error {
  override readonly name = 'UnknownTopicError'
  readonly retry = 'never'
}

/** The log's own files are so damaged that it cannot be opened or read further. */
export class LogDamagedError extends Error {
  override readonly name = 'LogDamagedError'
  readonly retry = 'never'
  readonly remedy: string

  constructor(message: string, remedy = 'put a backup in its place') {
    super(message)
    this.remedy = remedy
  }
}

/** A range of a partition that retention has removed. */
export interface Gone {
  readonly topic: string
  readonly partition: number
  /** The requested offset. */
  readonly from: bigint
  /** The offset where the log begins now, or a later one. */
  readonly beginning: bigint
}

/** Retention removed the requested offset. */
export class OffsetGoneError extends Error {
  override readonly name = 'OffsetGoneError'
  readonly retry = 'never'
  readonly gone: Gone

  constructor(message: string, gone: Gone) {
    super(message)
    this.gone = gone
  }
}

/** Records of a partition that are in the log but unreadable. */
export interface Damage {
  readonly topic: string
  readonly partition: number
  /** The first offset that cannot be read. */
  readonly from: bigint
  /** Where reading can continue: the first offset after the damage that may be intact. */
  readonly to: bigint
  /** What is wrong with them. */
  readonly problem: string
}

/** The disk returned other bytes than were written. A retry does not help; reading can continue at `damage.to`. */
export class RecordDamagedError extends Error {
  override readonly name = 'RecordDamagedError'
  readonly retry = 'never'
  readonly damage: Damage
  readonly remedy: string

  constructor(message: string, remedy: string, damage: Damage) {
    super(message)
    this.remedy = remedy
    this.damage = damage
  }
}
