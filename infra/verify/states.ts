import type { AnyFold, Processor } from '../../processors/processor.ts'
import { BlobCorruptError, BlobMissingError, BlobsAwayError } from '../blobs/blobs.ts'
import type { Log } from '../log/port/log.ts'
import { RecordDamagedError } from '../log/port/log.ts'
import type { StoredBroadcast } from '../runtime/execute/held-broadcast.ts'
import { broadcastKey, isBroadcastKey, isStateKey } from '../runtime/execute/state-keys.ts'
import { storedFold } from '../runtime/execute/stored-fold.ts'
import { ForeignRecordError } from '../runtime/internal/foreign-record.ts'
import { changelogTopic, type SnapshotEntry } from '../runtime/internal/internal-topics.ts'
import { readEntries } from '../runtime/internal/read-entries.ts'
import type { RerunOptions } from '../runtime/state/rerun.ts'
import { changelogReading, lastSnapshot } from '../runtime/state/state-store.ts'
import type { Findings } from './difference.ts'
import { jsonDifference } from './json-difference.ts'
import type { NamedBlobs } from './named-blobs.ts'

/** States of one processor, as a restart would restore them. */
export interface StatesReport {
  /** Keys whose state was compared. */
  readonly keys: number
  /** Keys whose state was written by an earlier version: read, but not compared. */
  readonly older: number
}

interface StateFound {
  readonly state: unknown
  /** The oldest version that wrote it since its last deletion. An upcast state still lacks what that version lacked. */
  readonly oldest: number
}
type States = Map<string, StateFound>

interface StatesToCheck {
  readonly processor: Processor
  readonly partition: number
  /** Where the changelog ended when the journal ended at the offset that the rebuilt states follow from. */
  readonly until: bigint
  /** States recomputed from the inputs; undefined for an effect, whose results are facts. */
  readonly rebuilt: readonly (readonly [string, unknown])[] | undefined
  /** The changelog may lack part of a state's history that an older version wrote. */
  readonly may_be_older: boolean
}

/**
 * Compares the states in a changelog with those recomputed from the inputs. Then compares the states restored from the
 * last snapshot and the rest of the changelog with the recomputed ones, or for an effect with the whole changelog.
 */
export async function checkStates(
  { processor, partition, until, rebuilt, may_be_older }: StatesToCheck,
  { log, named }: RerunOptions & { readonly named: NamedBlobs },
  findings: Pick<Findings, 'add'>,
): Promise<StatesReport> {
  const fold = storedFold(processor)
  if (fold === undefined) return { keys: 0, older: 0 }
  const topic = changelogTopic(processor.name)
  const where = `${topic} partition ${partition}`
  const changelog = await telling(
    where,
    findings,
    async () => await statesIn(new Map(), fold, partition, { log, from: 0n, until }),
  )
  if (changelog === undefined) return { keys: 0, older: 0 }
  const compare = new StateComparison(fold, changelog, may_be_older, findings)
  const expected = rebuilt ?? [...changelog].map(([key, { state }]) => [key, state] as const)
  compare.check(where, expected, changelog)

  const snapshot = await telling(where, findings, async () => await snapshotOf(log, processor.name, partition))
  if (snapshot === undefined) return compare.report
  const snapshot_where = `snapshot of ${processor.name} partition ${partition}, blob ${snapshot.blob.sha256}`
  await named.name(snapshot.blob, snapshot_where)
  const restored = await telling(snapshot_where, findings, async () => {
    const from = BigInt(snapshot.changelog_next)
    // The snapshot was taken after the changelog's end was read.
    if (from > until) return undefined
    const states = statesOf(snapshot, await named.bytesOf(snapshot.blob))
    return await statesIn(states, fold, partition, { log, from, until })
  })
  if (restored !== undefined) compare.check(`${snapshot_where}, and ${where} behind it`, expected, restored)
  return compare.report
}

class StateComparison {
  readonly #fold: AnyFold
  readonly #changelog: States
  readonly #may_be_older: boolean
  readonly #findings: Pick<Findings, 'add'>
  report: StatesReport = { keys: 0, older: 0 }

  constructor(fold: AnyFold, changelog: States, may_be_older: boolean, findings: Pick<Findings, 'add'>) {
    this.#fold = fold
    this.#changelog = changelog
    this.#may_be_older = may_be_older
    this.#findings = findings
  }

  #isOlder(key: string, found: StateFound | undefined): boolean {
    const oldest = Math.min(...[found, this.#changelog.get(key)].flatMap((state) => state?.oldest ?? []))
    return oldest < this.#version(key)
  }

  #version(key: string): number {
    if (isStateKey(key)) return this.#fold.state.version
    const { broadcast } = this.#fold
    return broadcast !== undefined && key === broadcastKey(broadcast.name) ? broadcast.version : 0
  }

  check(where: string, expected: readonly (readonly [string, unknown])[], actual: States): void {
    let [keys, older] = [0, 0]
    const right = new Map(expected)
    const is_rebuilt = [...actual].some(([key, found]) => this.#isOlder(key, found))
    for (const key of new Set([...right.keys(), ...actual.keys()])) {
      const found = actual.get(key)
      // After an upgrade without an upcaster, rebuilt states exist only in the snapshot.
      if (this.#isOlder(key, found) || (found === undefined && is_rebuilt)) {
        older++
        continue
      }
      const difference = jsonDifference(right.get(key), found?.state)
      const problem = difference ?? (found === undefined ? undefined : this.#misfit(key, found.state))
      if (problem === undefined) keys++
      else if (this.#may_be_older) older++
      else this.#findings.add('state', `${where}, key ${shownKey(key)}`, problem)
    }
    this.report = { keys: Math.max(this.report.keys, keys), older: Math.max(this.report.older, older) }
  }

  #misfit(key: string, state: unknown): string | undefined {
    const checked = isStateKey(key) ? this.#fold.state.schema.safeParse(state) : undefined
    return checked?.success === false ? `does not fit its schema: ${checked.error.message}` : undefined
  }
}

function shownKey(key: string): string {
  if (isStateKey(key)) return key
  return isBroadcastKey(key) ? 'of its broadcast state' : 'of its clocks'
}

/** The version that wrote a state: a broadcast state has its own, clocks have none. */
function writtenAt(key: string, state_version: number, state: unknown): number {
  if (isStateKey(key)) return state_version
  return isBroadcastKey(key) ? (state as StoredBroadcast).version : 0
}

const ABOUT_STATES = [
  RecordDamagedError,
  ForeignRecordError,
  BlobMissingError,
  BlobCorruptError,
  BlobsAwayError,
  SyntaxError,
  TypeError,
]

/** Turns a failed read into a finding. @returns undefined then, and nothing is compared */
async function telling<T>(
  where: string,
  findings: Pick<Findings, 'add'>,
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (!ABOUT_STATES.some((kind) => error instanceof kind)) throw error
    findings.add('state', where, `cannot be read: ${(error as Error).message}`)
    return undefined
  }
}

/** Applies a range of the changelog to `states`. */
async function statesIn(
  states: States,
  fold: AnyFold,
  partition: number,
  { log, from, until }: { readonly log: Log; readonly from: bigint; readonly until: bigint },
): Promise<States> {
  const range = { from, until }
  const found = readEntries(log, changelogTopic(fold.name), partition, changelogReading(fold), range)
  for await (const { entry: change } of found) {
    const { key, entry } = change
    if (entry === undefined) states.delete(key)
    else {
      const version = writtenAt(key, entry.state_version, entry.state)
      const oldest = Math.min(version, states.get(key)?.oldest ?? version)
      states.set(key, { state: entry.state, oldest })
    }
  }
  return states
}

/** The last snapshot taken in this log. Copied snapshots name offsets of another log, and no worker restores them. */
async function snapshotOf(log: Log, processor: string, partition: number): Promise<SnapshotEntry | undefined> {
  const committed = await log.committed(processor)
  if (!committed.some((position) => position.partition === partition)) return undefined
  const snapshot = await lastSnapshot(log, processor, partition)
  const { changelog_id = '' } = snapshot ?? {}
  const id = (await log.topics()).find(({ name }) => name === changelogTopic(processor))?.id ?? ''
  return changelog_id !== '' && id !== '' && changelog_id !== id ? undefined : snapshot
}

function statesOf({ state_version }: SnapshotEntry, bytes: Uint8Array): States {
  const lines = Buffer.from(bytes).toString('utf8').split('\n')
  return new Map(
    lines
      .filter((line) => line !== '')
      .map((line) => {
        const [key, state] = JSON.parse(line) as [string, unknown]
        return [key, { state, oldest: writtenAt(key, state_version, state) }]
      }),
  )
}
