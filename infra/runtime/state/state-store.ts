import type { z } from 'zod'
import { type AnyFold, broadcastOf, type Processor } from '../../../processors/processor.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from '../../blobs/blobs.ts'
import type { Log, NewRecord } from '../../log/port/log.ts'
import type { Execution } from '../execute/executed.ts'
import { execute } from '../execute/execution.ts'
import { type StoredBroadcast, storedBroadcast } from '../execute/held-broadcast.ts'
import { broadcastKey, isBroadcastKey, isStateKey } from '../execute/state-keys.ts'
import { storedFold } from '../execute/stored-fold.ts'
import { currentState, NoUpcasterError, StateVersionError } from '../execute/stored-state.ts'
import { ForeignRecordError } from '../internal/foreign-record.ts'
import { changelogEntryIn, type Reading, snapshotEntryIn } from '../internal/internal-records.ts'
import {
  type ChangelogEntry,
  changelogTopic,
  journalTopic,
  SNAPSHOTS_TOPIC,
  type SnapshotEntry,
} from '../internal/internal-topics.ts'
import { toJson } from '../internal/json-records.ts'
import { readEntries } from '../internal/read-entries.ts'
import { misplacedError, misplacedIn } from './misplaced.ts'
import { type RerunOptions, reachOf, rerun } from './rerun.ts'

export function changelogRecord(processor: Processor, key: string, state: unknown): NewRecord {
  if (state === undefined) return { key, headers: [], value: null }
  const entry: ChangelogEntry = { state_version: stateVersion(processor), state }
  return { key, headers: [], value: toJson(entry) }
}

export interface RestoreOptions extends RerunOptions {
  /** Aborts the transform of this task; without it nothing does. */
  readonly signal?: AbortSignal
  /** In a copy of a log, offsets in snapshots are wrong: only the changelog is used. */
  readonly without_snapshots: boolean
  /** Receives notices for a person about skipped records and snapshots. */
  readonly onNotice?: (message: string) => void
}

/** How a task's state was restored. */
export interface Restored {
  readonly execution: Execution
  /** Changelog records read after the snapshot; 0 when the state was rebuilt instead. */
  readonly changelog_records: number
  readonly rebuilt: boolean
  /**
   * Whether the changelog also has states that are not the processor's: those of an effect of its name. Its own snapshot
   * would lack them.
   */
  readonly has_others: boolean
}

/**
 * Restores a task's state from the last snapshot and the changelog after it. A state of an older version is upcast or,
 * without an upcaster, recomputed from the inputs in journal order.
 *
 * @throws StateVersionError when a newer version wrote the state, or it cannot be upcast or recomputed.
 * @throws ForeignRecordError when a record of the changelog or, for a rebuild, of the journal is foreign.
 */
export async function restoreState(
  processor: Processor,
  partition: number,
  options: RestoreOptions,
): Promise<Restored> {
  const execution = execute(processor, reachOf(options, options.signal))
  const fold = storedFold(processor)
  if (fold === undefined) return { execution, changelog_records: 0, rebuilt: false, has_others: false }
  const isOwn = (key: string) => processor.shape !== 'transform' || isBroadcastKey(key)
  let message = ''
  try {
    return { execution, ...(await readState(execution, { fold, isOwn }, partition, options)), rebuilt: false }
  } catch (error) {
    if (!(error instanceof NoUpcasterError)) throw error
    message = error.message
    if (processor.produces === 'facts') {
      throw new StateVersionError(
        `${error.message}; what was asked for cannot be computed again, use the older program`,
      )
    }
  }
  if (processor.shape === 'transform' && processor.takeUp !== undefined) {
    throw new StateVersionError(`${message}; what it has taken up is not computed again, use the older program`)
  }
  const rebuilt = execute(fold)
  for await (const { failures } of rerun(rebuilt, fold.name, partition, () => fold, options)) {
    const [failure] = failures
    if (failure === undefined) continue
    throw new StateVersionError(
      `${fold.name}: its state cannot be computed again, it now fails on ${failure.event.type} ${failure.event.id}, which it had processed: ${failure.error.message}`,
    )
  }
  if (processor.shape === 'fold') {
    rebuilt.become(processor)
    return { execution: rebuilt, changelog_records: 0, rebuilt: true, has_others: false }
  }
  const fresh = execute(processor, reachOf(options, options.signal))
  for (const [key, state] of rebuilt.states()) if (isBroadcastKey(key)) fresh.restore(key, state)
  return { execution: fresh, changelog_records: 0, rebuilt: true, has_others: false }
}

/** A processor's stored fold, and which keys of the changelog are its own. */
interface Own {
  readonly fold: AnyFold
  readonly isOwn: (key: string) => boolean
}

async function readState(
  execution: Execution,
  { fold, isOwn }: Own,
  partition: number,
  options: RestoreOptions,
): Promise<Pick<Restored, 'changelog_records' | 'has_others'>> {
  const { log } = options
  let has_others = false
  const restore = (key: string, state: () => unknown) => {
    if (isOwn(key)) execution.restore(key, state())
    else has_others = true
  }
  const snapshot = options.without_snapshots ? undefined : await readSnapshot(fold, partition, options)
  for (const [key, state] of snapshot?.states ?? []) restore(key, state)
  const from = snapshot?.changelog_next ?? 0n
  let changelog_records = 0
  for await (const { entry } of readEntries(log, changelogTopic(fold.name), partition, stateReading(fold), { from })) {
    restore(entry.key, entry.state)
    changelog_records++
  }
  return { changelog_records, has_others }
}

/**
 * The states of the last snapshot. An unreadable snapshot is ignored: the changelog has the last state of every key, so
 * restoring takes longer but gives the same result.
 */
async function readSnapshot(
  processor: AnyFold,
  partition: number,
  { log, blobs, onNotice }: RestoreOptions,
): Promise<{ readonly states: readonly [string, () => unknown][]; readonly changelog_next: bigint } | undefined> {
  const snapshot = await lastSnapshot(log, processor.name, partition, onNotice)
  if (snapshot === undefined) return undefined
  await expectOwnChangelog(log, processor.name, partition, snapshot)
  try {
    const lines = Buffer.from(await blobs.get(snapshot.blob))
      .toString('utf8')
      .split('\n')
    const states = lines
      .filter((line) => line !== '')
      .map((line): [string, () => unknown] => {
        const [key, state] = JSON.parse(line) as [string, unknown]
        const upcast = () => currentState(processor.name, processor.state, snapshot.state_version, state)
        return [key, isStateKey(key) ? upcast : () => state]
      })
    return { states, changelog_next: BigInt(snapshot.changelog_next) }
  } catch (error) {
    const is_lost = error instanceof BlobMissingError || error instanceof BlobCorruptError
    if (!is_lost && !(error instanceof SyntaxError)) throw error
    onNotice?.(
      `the snapshot of ${processor.name} partition ${partition} cannot be read, its state is restored from the whole changelog: ${(error as Error).message}`,
    )
    return undefined
  }
}

/** @throws TopicReplacedError when the snapshot belongs to another changelog: this one lacks the changes after it. */
async function expectOwnChangelog(
  log: Log,
  processor: string,
  partition: number,
  { changelog_id = '', changelog_next }: SnapshotEntry,
): Promise<void> {
  const topic = changelogTopic(processor)
  const position = { topic, partition, next: BigInt(changelog_next), seen: { topic_id: changelog_id } }
  const misplaced = await misplacedIn(log, [position])
  if (misplaced.length > 0) throw misplacedError(log, processor, misplaced)
}

/**
 * How a fold's changelog is read.
 *
 * @returns a reading that refuses a record that is no entry, is in the wrong partition for its key, or has a state of
 * this version that does not fit the schema
 */
export function changelogReading(fold: AnyFold): Reading<ReturnType<typeof changelogEntryIn>> {
  // An input that is routed to every partition has state under its key in each of them.
  const is_keyed = fold.inputs.every(({ routing }) => routing === 'key')
  return (record, partitions) => {
    const found = changelogEntryIn(record, is_keyed ? partitions : undefined)
    const schema = schemaOf(fold, found)
    const checked = schema?.safeParse(found.entry?.state)
    if (checked === undefined || checked.success) return found
    throw new ForeignRecordError(
      record,
      `a state of ${fold.name}`,
      `one that does not fit its schema: ${checked.error.message}`,
    )
  }
}

/** Reads a key and its state, which is upcast to the current version when it is called; undefined for a deleted key. */
export function stateReading(fold: AnyFold): Reading<{ readonly key: string; readonly state: () => unknown }> {
  const reading = changelogReading(fold)
  return (record, partitions) => {
    const { key, entry } = reading(record, partitions)
    const is_older = entry !== undefined && isStateKey(key) && entry.state_version !== fold.state.version
    const upcast = () => currentState(fold.name, fold.state, entry?.state_version ?? 0, entry?.state)
    return { key, state: is_older ? upcast : () => entry?.state }
  }
}

/** What a stored state of this version must fit; undefined for one of another version, and for clocks. */
function schemaOf(fold: AnyFold, { key, entry }: ReturnType<typeof changelogEntryIn>): z.ZodType | undefined {
  if (entry === undefined) return undefined
  if (isStateKey(key)) return entry.state_version === fold.state.version ? fold.state.schema : undefined
  const broadcast = broadcastOf(fold)
  if (broadcast === undefined || key !== broadcastKey(broadcast.name)) return undefined
  const { version } = entry.state as StoredBroadcast
  return version === broadcast.version ? storedBroadcast.extend({ state: broadcast.schema }) : undefined
}

/** A tombstone that voids the snapshots of a task: its state is then restored from its changelog alone. */
export function noSnapshot(processor: string, partition: number): NewRecord {
  return { key: `${processor}/${partition}`, headers: [], value: null }
}

/** Writes the whole state of a task as a blob. @returns the record that makes it the snapshot to restore from */
export async function takeSnapshot(
  execution: Execution,
  processor: Processor,
  partition: number,
  log: Log,
  blobs: Blobs,
): Promise<{ partition: number; record: NewRecord }> {
  const states = execution.states()
  const text = states.map(([key, state]) => `${JSON.stringify([key, state])}\n`).join('')
  const blob = await blobs.put(Buffer.from(text), 'application/jsonl')
  const changelog_next = (await log.endOffsets(changelogTopic(processor.name)))[partition] ?? 0n
  const journal_next = (await log.endOffsets(journalTopic(processor.name)))[partition] ?? 0n
  const entry: SnapshotEntry = {
    processor: processor.name,
    partition,
    state_version: stateVersion(processor),
    changelog_id: (await log.topics()).find(({ name }) => name === changelogTopic(processor.name))?.id ?? '',
    changelog_next: String(changelog_next),
    journal_next: String(journal_next),
    keys: states.length,
    blob,
  }
  return { partition, record: { key: `${processor.name}/${partition}`, headers: [], value: toJson(entry) } }
}

export async function lastSnapshot(
  log: Log,
  processor: string,
  partition: number,
  onNotice?: RestoreOptions['onNotice'],
): Promise<SnapshotEntry | undefined> {
  let last: SnapshotEntry | undefined
  const onForeign = ({ message }: Error) => onNotice?.(`passed over: ${message}`)
  for await (const { entry } of readEntries(log, SNAPSHOTS_TOPIC, partition, snapshotEntryIn, { onForeign })) {
    if (entry.processor === processor) last = entry.snapshot
  }
  return last
}

function stateVersion(processor: Processor): number {
  return processor.shape === 'transform' ? 0 : processor.state.version
}
