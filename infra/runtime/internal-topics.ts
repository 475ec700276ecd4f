import type { BlobRef } from '../../schemas/logical-types.ts'
import type { Header } from '../log/log.ts'

/**
 * What workers write for themselves, beside the events: outside identity and outside `verify`. Values are UTF-8 JSON.
 * Every one of these topics but `_snapshots` and `_topology` has the partition count of the topology.
 */

export const journalTopic = (processor: string) => `_journal.${processor}`
export const changelogTopic = (processor: string) => `_changelog.${processor}`
export const SNAPSHOTS_TOPIC = '_snapshots'
export const TOPOLOGY_TOPIC = '_topology'
export const DEAD_LETTERS_TOPIC = 'dead_letters'

/**
 * One per committed batch of a task: how its input topics were interleaved. `runs` lists [index into `topics`, how
 * many records], in the order in which they were processed; records are counted among the visible ones of their
 * partition, so a journal stays true in a copy of the log whose offsets differ.
 */
export interface JournalEntry {
  /** The processor's version and variant that took these records: what a rebuild must run. */
  readonly version: number
  readonly variant: readonly string[]
  readonly topics: readonly string[]
  readonly runs: readonly (readonly [topic: number, count: number])[]
}

/** The state of one key after a committed batch; the record's key is the state's key, a null value forgets it. */
export interface ChangelogEntry {
  readonly state_version: number
  readonly state: unknown
}

/** Where a task's state may be taken up without reading its whole changelog. */
export interface SnapshotEntry {
  readonly processor: string
  readonly partition: number
  readonly state_version: number
  /** The first changelog offset that is not in the snapshot. */
  readonly changelog_next: string
  /** The first journal offset that is not in the snapshot. */
  readonly journal_next: string
  readonly keys: number
  readonly blob: BlobRef
}

/** A record that a processor could not take, in the transaction that passed it. */
export interface DeadLetter {
  readonly processor: string
  /** `poison`: the record itself is wrong. `bug`: the processor failed on it. */
  readonly failure: 'poison' | 'bug'
  readonly topic: string
  readonly partition: number
  readonly offset: string
  readonly error: string
  /** Known when the envelope could be read. */
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
