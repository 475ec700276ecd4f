import { type Log, type LogRecord, OffsetGoneError } from '../infra/log/port/log.ts'
import { partitionName } from '../infra/log/port/partition-name.ts'
import { retryOf } from '../infra/retry.ts'
import { SkippedRecords } from '../infra/runtime/internal/skipped-records.ts'
import type { ReadPositions } from './read-positions.ts'
import type { SinkBatch } from './sink-batch.ts'
import { UnloadedRecordError } from './unloaded-record.ts'
import { type Place, type UnreadableCounts, type UnreadableRecord, unreadableTotal } from './unreadable-record.ts'

/** How many unreadable records one round rereads before new records are loaded. */
const ROUND_RECORDS = 512
const PAGE_BYTES = 1024 * 1024
const SHORTEST_PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 60_000
/** At most this share of the time goes into records that stay unreadable. */
const SHARE = 0.05

/** The list of a sink's unreadable records, as of its last commit. */
export interface UnreadableList {
  counts(): UnreadableCounts
  /**
   * @param after the place before the first record; undefined: from the first one on
   * @param most how many at most
   * @returns sorted by topic, partition and offset
   */
  list(after: Place | undefined, most: number): Promise<readonly UnreadableRecord[]>
}

export interface RereadingOptions<B extends SinkBatch> {
  readonly log: Log
  readonly positions: ReadPositions
  readonly list: UnreadableList
  readonly newBatch: () => B
  /** Whether the batch must be committed before more is read. */
  readonly isFull: (batch: B) => boolean
}

/** What a pass of a sink rereads, and how. */
export interface RereadPass<B extends SinkBatch> {
  /** Records of other topics stay listed. */
  readonly topics: ReadonlySet<string>
  /**
   * Resolves to whether the record is in the batch; otherwise the batch has the reason why it is unreadable.
   * @throws UnloadedRecordError when the reason is not the record itself
   */
  readonly take: (record: LogRecord, batch: B) => Promise<boolean>
  /** Stores the batch and removes what it has healed from the list, together or not at all. */
  readonly commit: (batch: B) => Promise<void>
  readonly signal: AbortSignal | undefined
}

/**
 * Rereads the unreadable records of a sink: a blob may be back, or this release may have their schema. A record is
 * stored and taken off the list in one commit, so it is stored exactly once. Records are reread when the sink is
 * opened, and then with growing pauses, since nothing signals when a blob is back.
 */
export class Rereading<B extends SinkBatch> {
  readonly #options: RereadingOptions<B>
  /** The next round starts after this record; undefined: at the first. */
  #after: Place | undefined
  #cycle = { began_ms: 0, loaded: 0 }
  #skipped: SkippedRecords | undefined
  #pause_ms = 0
  #due_ms = 0

  constructor(options: RereadingOptions<B>) {
    this.#options = options
  }

  /** Runs a round if one is due. @returns how many records are no longer unreadable */
  async whenDue(pass: RereadPass<B>): Promise<number> {
    if (this.#isEmpty || performance.now() < this.#due_ms) return 0
    return await this.#round(pass)
  }

  /** Rereads every unreadable record once. @returns how many are no longer unreadable */
  async all(pass: RereadPass<B>): Promise<number> {
    if (this.#isEmpty) return 0
    this.#after = undefined
    let healed = 0
    do healed += await this.#round(pass)
    while (this.#after !== undefined && !pass.signal?.aborted)
    return healed
  }

  get #isEmpty(): boolean {
    return unreadableTotal(this.#options.list.counts()) === 0
  }

  async #round(pass: RereadPass<B>): Promise<number> {
    if (this.#after === undefined) this.#cycle = { began_ms: performance.now(), loaded: 0 }
    this.#skipped = await SkippedRecords.read(this.#options.log)
    const entries = await this.#options.list.list(this.#after, ROUND_RECORDS)
    let healed = 0
    let is_away = false
    for (const some of Map.groupBy(entries, partitionName).values()) {
      if (!pass.topics.has((some[0] as UnreadableRecord).topic)) continue
      const reread = await this.#reread(some, pass)
      healed += reread.healed
      is_away = reread.is_away
      if (is_away || pass.signal?.aborted) break
    }
    this.#after = entries.length < ROUND_RECORDS || is_away ? undefined : entries.at(-1)
    this.#cycle.loaded += healed
    if (this.#after === undefined) this.#rest()
    return healed
  }

  /** A cycle is over: when it loaded nothing, the next one waits longer. */
  #rest(): void {
    const now = performance.now()
    const grown = this.#cycle.loaded > 0 ? 0 : this.#pause_ms * 2
    this.#pause_ms = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, grown))
    this.#due_ms = now + Math.max(this.#pause_ms, (now - this.#cycle.began_ms) / SHARE)
  }

  /**
   * Rereads some records of one partition, in order.
   * @returns `is_away`: what they need is unavailable now; their entries stay, and new records are loaded meanwhile
   */
  async #reread(
    entries: readonly UnreadableRecord[],
    { take, commit, signal }: RereadPass<B>,
  ): Promise<{ healed: number; is_away: boolean }> {
    const { positions, newBatch, isFull } = this.#options
    const { topic, partition } = entries[0] as UnreadableRecord
    const known = new Map(entries.map(({ offset, error }) => [offset, error]))
    let batch = newBatch()
    let healed = 0
    const commitNews = async () => {
      const { length } = batch.healed
      batch.dropUnreadable(({ offset, error }) => known.get(offset) === error)
      if (length > 0 || batch.unreadable.length > 0) {
        await positions.compareAgain([positions.of(topic, partition)])
        await commit(batch)
      }
      healed += length
      batch = newBatch()
    }
    let is_away = false
    for (const entry of entries) if (this.#skipped?.hasRemoved(entry)) batch.heal(entry)
    for await (const record of this.#recordsAt(entries)) {
      if (signal?.aborted) break
      try {
        if (this.#skipped?.has(record) || (await take(record, batch))) batch.heal(record)
      } catch (cause) {
        if (!(cause instanceof UnloadedRecordError)) throw cause
        // Any cause that a retry cannot fix concerns this record alone.
        is_away = retryOf(cause.cause) === 'later'
        if (is_away) break
      }
      batch.bytes += record.value?.length ?? 0
      if (isFull(batch)) await commitNews()
    }
    await commitNews()
    return { healed, is_away }
  }

  /** The records at some offsets of one partition; nearby ones are read together. */
  async *#recordsAt(entries: readonly UnreadableRecord[]): AsyncGenerator<LogRecord> {
    const wanted = new Set(entries.map(({ offset }) => offset))
    let reached = 0n
    for (const [at, { topic, partition, offset: from }] of entries.entries()) {
      if (from < reached) continue
      const following = entries[at + 1]
      const is_alone = following === undefined || following.offset > from + 64n
      const page = await this.#options.log
        .read({ topic, partition, from, max_bytes: is_alone ? 1 : PAGE_BYTES })
        .catch((error: unknown) => {
          // Retention has removed it for good.
          if (error instanceof OffsetGoneError) return undefined
          throw error
        })
      if (page === undefined) continue
      reached = page.next
      for (const record of page.records) if (wanted.has(record.offset)) yield record
    }
  }
}
