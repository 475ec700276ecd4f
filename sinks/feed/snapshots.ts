import { feedSnapshotIn } from '../../infra/runtime/internal/internal-records.ts'
import { FEED_SNAPSHOTS_TOPIC, type FeedSnapshotEntry } from '../../infra/runtime/internal/internal-topics.ts'
import { toJson } from '../../infra/runtime/internal/json-records.ts'
import { readEntries } from '../../infra/runtime/internal/read-entries.ts'
import { sleep } from '../../infra/sleep.ts'
import { TRAINING_EVENTS } from '../../schemas/events/training.ts'
import { partitionsOf } from '../../schemas/wire/partitions.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import type { ConsumerState } from './consumer-state.ts'
import type { TrainingLog } from './history.ts'
import { type Packing, packedInThreads } from './packing.ts'
import type { Append } from './shared-commits.ts'
import { STATE_VERSION, type StoredState, storedState } from './stored-state.ts'

/** Far more than any state has: a blob that grows beyond it is none. */
const MOST_STATE_BYTES = 512 * 2 ** 20

/** A state, and where its events go on. */
export interface Snapshot {
  readonly stored: StoredState
  /** By topic of training events. */
  readonly positions: ReadonlyMap<string, bigint>
}

/** Where snapshots are read. */
export interface SnapshotReading extends TrainingLog {
  readonly packing?: Packing
}

/**
 * The last snapshot of a consumer, if it is of this version and of the topics that are there. Any other is ignored: the
 * events lead to the same state.
 *
 * @param report is told of a snapshot that should be readable and is not
 */
export async function lastSnapshot(
  options: SnapshotReading,
  consumer: string,
  report: (message: string) => void,
): Promise<Snapshot | undefined> {
  const { log, blobs, packing = packedInThreads } = options
  const entry = await lastEntry(options, consumer)
  if (entry === undefined || entry.state_version !== STATE_VERSION || !(await isOfThese(options, entry))) {
    return undefined
  }
  try {
    const text = await packing.unpack(await blobs.get(entry.blob), MOST_STATE_BYTES)
    const stored = storedState.parse(JSON.parse(Buffer.from(text).toString('utf8')))
    if (stored.name !== consumer || stored.number !== entry.number) {
      throw new Error(
        `expected ${consumer} after event ${entry.number}, found ${stored.name} after event ${stored.number}`,
      )
    }
    return { stored, positions: new Map(entry.topics.map(({ topic, next }) => [topic, BigInt(next)])) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    report(
      `consumer ${consumer}: its snapshot in ${log.address} cannot be read, all its training events are read instead: ${why}`,
    )
    return undefined
  }
}

async function lastEntry({ log }: TrainingLog, consumer: string): Promise<FeedSnapshotEntry | undefined> {
  if (!(await log.topics()).some(({ name }) => name === FEED_SNAPSHOTS_TOPIC)) return undefined
  let last: FeedSnapshotEntry | undefined
  // What is foreign there is no snapshot of any consumer; `verify` reports it.
  const entries = readEntries(log, FEED_SNAPSHOTS_TOPIC, 0, feedSnapshotIn, { onForeign: () => {} })
  for await (const { entry } of entries) if (entry.consumer === consumer) last = entry
  return last
}

/** Whether the topics have not been made again since, nor cut off. */
async function isOfThese({ log, partitions }: TrainingLog, { consumer, topics }: FeedSnapshotEntry): Promise<boolean> {
  const ids = await idsIn({ log })
  if (ids === undefined || topics.length !== ids.size) return false
  for (const { topic, id, next } of topics) {
    if (ids.get(topic) !== id) return false
    const end = (await log.endOffsets(topic))[partitionOf(consumer, partitionsOf(partitions, topic))] ?? 0n
    if (BigInt(next) > end) return false
  }
  return true
}

/** The ids of the topics of training events; undefined where one has none: it may be made again unnoticed. */
async function idsIn({ log }: Pick<TrainingLog, 'log'>): Promise<ReadonlyMap<string, string> | undefined> {
  const names = new Set(TRAINING_EVENTS.map(({ type }) => type))
  const ids = new Map((await log.topics()).filter(({ name }) => names.has(name)).map(({ name, id }) => [name, id]))
  return ids.size === names.size && [...ids.values()].every((id) => id !== '') ? ids : undefined
}

export interface SnapshotOptions extends SnapshotReading {
  readonly report: (message: string) => void
  /** How many events a snapshot is taken after; infinity: none is taken. */
  readonly snapshot_events?: number
}

/** Inferred: longer than a log that answers takes. */
const CLOSE_MS = 1_000
/** Inferred: so many events are read in a tenth of a second. */
const SNAPSHOT_EVENTS = 2_000

/**
 * Takes the snapshots of a consumer: one with its first event, so that it need never read what others did before it, and
 * then one for every so many events. A larger state is written less often: its bytes are spread over more events.
 */
export class Snapshots {
  readonly #options: SnapshotOptions
  readonly #commit: (record: Append) => void
  readonly #every: number
  readonly #stop = new AbortController()
  #due_at: number
  #taking: Promise<void> | undefined

  /**
   * @param last the snapshot that the consumer was opened from, if one
   * @param commit appends the record that makes a state the snapshot, after the events that are in the state
   */
  constructor(options: SnapshotOptions, last: Snapshot | undefined, commit: (record: Append) => void) {
    this.#options = options
    this.#commit = commit
    this.#every = options.snapshot_events ?? SNAPSHOT_EVENTS
    const first = Number.isFinite(this.#every) ? 1 : Number.POSITIVE_INFINITY
    this.#due_at = last === undefined ? first : last.stored.number + this.#distance(last.stored)
  }

  /** Does not wait for it. One that cannot be taken is reported, and does no harm. */
  takeIfDue(state: ConsumerState): void {
    if (this.#taking !== undefined || state.number < this.#due_at) return
    // One that fails is not tried again at once.
    this.#due_at = state.number + this.#every
    this.#taking = this.#take(state)
      .catch((error: unknown) => {
        if (this.#stop.signal.aborted) return
        const why = error instanceof Error ? error.message : String(error)
        this.#options.report(`consumer ${state.name}: no snapshot is taken now: ${why}`)
      })
      .finally(() => {
        this.#taking = undefined
      })
  }

  /** Gives up the one that is being taken. A log that does not answer does not hold it up. */
  async close(): Promise<void> {
    this.#stop.abort()
    const waited = new AbortController()
    await Promise.race([this.#taking, sleep(CLOSE_MS, waited.signal)])
    waited.abort()
  }

  async #take(state: ConsumerState): Promise<void> {
    const { log, blobs, partitions, packing = packedInThreads } = this.#options
    const { signal } = this.#stop
    await log.createTopics([{ name: FEED_SNAPSHOTS_TOPIC, partitions: 1, retention: 'latest_per_key' }])
    const ids = await idsIn({ log })
    if (ids === undefined) return
    // The ends before the state: what is decided later is appended behind them.
    const topics = await Promise.all(
      [...ids].map(async ([topic, id]) => {
        const end = (await log.endOffsets(topic))[partitionOf(state.name, partitionsOf(partitions, topic))] ?? 0n
        return { topic, id, next: String(end) }
      }),
    )
    signal.throwIfAborted()
    const stored = state.stored()
    this.#due_at = stored.number + this.#distance(stored)
    const blob = await blobs.put(await packing.pack(toJson(stored)), 'application/gzip', { signal })
    const { name: consumer, number } = stored
    const entry: FeedSnapshotEntry = { consumer, state_version: STATE_VERSION, number, topics, blob }
    this.#commit({
      ...{ topic: FEED_SNAPSHOTS_TOPIC, partition: 0 },
      record: { key: consumer, headers: [], value: toJson(entry) },
    })
  }

  #distance({ open, checkpoints, dropped_lately }: StoredState): number {
    const rows = checkpoints.reduce((sum, { groups }) => sum + groups.length, open.length + dropped_lately.length)
    return this.#every + (rows >> 2)
  }
}
