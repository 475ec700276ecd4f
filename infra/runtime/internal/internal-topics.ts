import type { BlobRef } from '../../../schemas/declare/logical-types.ts'
import type { Partitions } from '../../../schemas/wire/partitions.ts'
import type { Header } from '../../log/port/log.ts'
import type { Taken } from './taken.ts'

/**
 * The topics that workers write for themselves. Their records are not events and have no identity. Values are UTF-8
 * JSON. Journals and changelogs have one partition per task, `_snapshots` and `dead_letters` the largest count of the
 * topology, `_topology` and `_skipped` one. `internal-records.ts` reads them.
 */

export const journalTopic = (processor: string) => `_journal.${processor}`
export const changelogTopic = (processor: string) => `_changelog.${processor}`
export const SNAPSHOTS_TOPIC = '_snapshots'
export const TOPOLOGY_TOPIC = '_topology'
export const DEAD_LETTERS_TOPIC = 'dead_letters'
/** Created when the first record is to be skipped. */
export const SKIPPED_TOPIC = '_skipped'
/** Of the states of training consumers. One partition; created with the first of them. */
export const FEED_SNAPSHOTS_TOPIC = '_feed_snapshots'

/** Whether the records of a topic name offsets of their own log, so that they are of no use in a copy. */
export const isOfSnapshots = (topic: string) => topic === SNAPSHOTS_TOPIC || topic === FEED_SNAPSHOTS_TOPIC

/** Whether a log may remove all of the topic's records except the last one of each key. */
export const isCompacted = (topic: string) => topic.startsWith(changelogTopic('')) || isOfSnapshots(topic)

/**
 * One per committed batch of a task: how its input topics were interleaved. `runs` lists [index into `topics`, how many
 * records], in processing order. Only visible records of a partition are counted, so a journal stays valid in a copy of
 * the log whose offsets differ.
 */
export interface JournalEntry {
  /** The version and variant of the processor at that time. A rebuild must run this variant. */
  readonly version: number
  readonly variant: readonly string[]
  readonly topics: readonly string[]
  readonly runs: readonly (readonly [topic: number, count: number])[]
  /**
   * For each of `topics`, the digest of its last record in this batch. It distinguishes a recreated topic from the one
   * that was read, and is the same in a copy. Entries of earlier releases lack it.
   */
  readonly last?: readonly string[]
  /**
   * The task was reset here: earlier entries no longer count. `outputs` has the end offsets of its output topics at
   * that time, by partition: events below them were derived from records that may be gone.
   */
  readonly reset?: { readonly outputs: Readonly<Record<string, readonly string[]>> }
  /** Which records became dead letters, and how the others were batched. Entries of earlier releases lack it. */
  readonly taken?: Taken
}

/** The state of one key after a committed batch. The record's key is the state's key; a null value deletes it. */
export interface ChangelogEntry {
  readonly state_version: number
  readonly state: unknown
}

/** A snapshot, from which a task's state is restored without reading its whole changelog. */
export interface SnapshotEntry {
  readonly processor: string
  readonly partition: number
  readonly state_version: number
  /** The id of the changelog topic at that time. Entries of earlier releases lack it. */
  readonly changelog_id?: string
  /** The first changelog offset that is not in the snapshot. */
  readonly changelog_next: string
  /** The first journal offset that is not in the snapshot. */
  readonly journal_next: string
  readonly keys: number
  readonly blob: BlobRef
}

/** A snapshot of a training consumer, from which a feed opens it without reading all of its training events. */
export interface FeedSnapshotEntry {
  readonly consumer: string
  readonly state_version: number
  /** Of the last training event in it. */
  readonly number: number
  /** By topic of training events: its id, and an offset below which the consumer has no event after that one. */
  readonly topics: readonly { readonly topic: string; readonly id: string; readonly next: string }[]
  readonly blob: BlobRef
}

/** A record that a processor failed on. Appended in the transaction that commits the position after it. */
export interface DeadLetter {
  readonly processor: string
  /** `poison`: the record itself is wrong. `bug`: the processor failed on it. */
  readonly failure: 'poison' | 'bug'
  readonly topic: string
  readonly partition: number
  readonly offset: string
  readonly error: string
  /** From the record's header; null when it has none. */
  readonly ce_id: string | null
  readonly ce_type: string | null
  /** How many rows the event had, when it could be decoded. */
  readonly rows: number | null
  readonly key: string | null
  readonly headers: readonly Header[]
  readonly value_base64: string | null
  /** Instead of `value_base64` when the value is large. */
  readonly value_blob: BlobRef | null
}

/** A record that every reader skips by an operator's order. */
export interface SkippedRecord {
  readonly topic: string
  readonly partition: number
  /** The offset in the log where this was written; a copy has other offsets. */
  readonly offset: string
  /** The record's digest: the same in a copy, different in a recreated topic. Null if retention removed the record. */
  readonly digest: string | null
  /** Why no reader could take it. */
  readonly error: string
}

/** The topology that produced a log's stored state; see `identityOf` in streams/. */
export interface RecordedTopology {
  readonly fingerprint: string
  readonly partitions: Partitions
  readonly processors: readonly {
    readonly name: string
    readonly inputs: readonly string[]
    readonly state_version: number
    readonly broadcast_version?: number | undefined
    /** Those of the inputs that its broadcast state is made from. */
    readonly broadcast_inputs?: readonly string[] | undefined
  }[]
}
