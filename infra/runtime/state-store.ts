import type { Fold, Processor } from '../../processors/processor.ts'
import { clockTicked } from '../../schemas/clock.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log, LogRecord, NewRecord } from '../log/log.ts'
import { type Execution, execute } from './execution.ts'
import {
  type ChangelogEntry,
  changelogTopic,
  journalTopic,
  SNAPSHOTS_TOPIC,
  type SnapshotEntry,
} from './internal-topics.ts'
import { readJson, readRange, toJson } from './json-records.ts'
import { type RerunOptions, rerun } from './rerun.ts'

/** The clocks of a task lie beside its keys and are no fold state. */
const isKey = (key: string) => !key.startsWith('\u0000')

/** The state found was written by a newer program, or is not what its version says. */
export class StateVersionError extends Error {
  override readonly name = 'StateVersionError'
}

export function changelogRecord(processor: Processor, key: string, state: unknown): NewRecord {
  if (state === undefined) return { key, headers: [], value: null }
  const entry: ChangelogEntry = { state_version: stateVersion(processor), state }
  return { key, headers: [], value: toJson(entry) }
}

/** How a task's state came back. */
export interface Restored {
  readonly execution: Execution
  /** Changelog records read after the snapshot; when the state was rebuilt instead, everything counts as unsaved. */
  readonly changelog_records: number
  readonly rebuilt: boolean
}

/**
 * Brings a task's state back: the last snapshot, then the changelog's tail. A state of an older version is upcast, or,
 * where no upcaster leads here, computed again from the inputs in journal order.
 *
 * @throws StateVersionError when the state was written by a newer version.
 */
export async function restoreState(
  processor: Processor,
  partition: number,
  options: RerunOptions & {
    /** In a copy of a log, where offsets are others: the changelog alone counts. */
    readonly without_snapshots: boolean
  },
): Promise<Restored> {
  const execution = execute(processor)
  if (processor.shape !== 'fold') return { execution, changelog_records: 0, rebuilt: false }
  try {
    return { execution, changelog_records: await readState(execution, processor, partition, options), rebuilt: false }
  } catch (error) {
    if (!(error instanceof NoUpcasterError)) throw error
    if (processor.produces === 'facts') {
      throw new StateVersionError(
        `${error.message}; what was asked for cannot be computed again, use the older program`,
      )
    }
  }
  const rebuilt = execute(processor)
  for await (const { failures } of rerun(rebuilt, processor.name, partition, () => processor, options)) {
    const failure = failures.find(({ event }) => event.type !== clockTicked.type)
    if (failure === undefined) continue
    throw new StateVersionError(
      `${processor.name}: its state cannot be computed again, it fails today on ${failure.event.type} ${failure.event.id}, which it took then: ${failure.error.message}`,
    )
  }
  rebuilt.become(processor)
  return { execution: rebuilt, changelog_records: 0, rebuilt: true }
}

async function readState(
  execution: Execution,
  processor: Fold,
  partition: number,
  { log, blobs, without_snapshots }: RerunOptions & { readonly without_snapshots: boolean },
): Promise<number> {
  const snapshot = without_snapshots ? undefined : await lastSnapshot(log, processor.name, partition)
  let from = 0n
  if (snapshot !== undefined) {
    const lines = Buffer.from(await blobs.get(snapshot.blob))
      .toString('utf8')
      .split('\n')
    for (const line of lines) {
      if (line === '') continue
      const [key, state] = JSON.parse(line) as [string, unknown]
      execution.restore(key, isKey(key) ? current(processor, snapshot.state_version, state) : state)
    }
    from = BigInt(snapshot.changelog_next)
  }
  let tail = 0
  for await (const record of readRange(log, changelogTopic(processor.name), partition, from)) {
    restoreRecord(execution, processor, record)
    tail++
  }
  return tail
}

function restoreRecord(execution: Execution, processor: Fold, record: LogRecord): void {
  const key = record.key ?? ''
  if (record.value === null) {
    execution.restore(key, undefined)
    return
  }
  const entry = readJson<ChangelogEntry>(record)
  execution.restore(key, isKey(key) ? current(processor, entry.state_version, entry.state) : entry.state)
}

class NoUpcasterError extends Error {}

/** The state as the processor of today has it. */
function current(fold: Fold, version: number, state: unknown): unknown {
  const where = `${fold.name}: state version ${version}, this program has ${fold.state.version}`
  if (version > fold.state.version)
    throw new StateVersionError(`${where}; it was written by a newer Plumbline, use that one`)
  let upcast = state
  for (let step = version; step < fold.state.version; step++) {
    const next = fold.state.upcast?.[step]
    if (next === undefined) throw new NoUpcasterError(`${where} and no upcaster from ${step}`)
    upcast = next(upcast)
  }
  const checked = fold.state.schema.safeParse(upcast)
  if (!checked.success) throw new StateVersionError(`${where}; it does not fit its schema: ${checked.error.message}`)
  return upcast
}

/** Writes the whole state of a task as a blob and returns the entry that makes it the one to restore from. */
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
    changelog_next: String(changelog_next),
    journal_next: String(journal_next),
    keys: states.length,
    blob,
  }
  return { partition, record: { key: `${processor.name}/${partition}`, headers: [], value: toJson(entry) } }
}

async function lastSnapshot(log: Log, processor: string, partition: number): Promise<SnapshotEntry | undefined> {
  let last: SnapshotEntry | undefined
  for await (const record of readRange(log, SNAPSHOTS_TOPIC, partition, 0n)) {
    const entry = readJson<SnapshotEntry>(record)
    if (entry.processor === processor) last = entry
  }
  return last
}

function stateVersion(processor: Processor): number {
  return processor.shape === 'fold' ? processor.state.version : 0
}
