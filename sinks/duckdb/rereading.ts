import type { DuckDBConnection } from '@duckdb/node-api'
import { type Log, type LogRecord, OffsetGoneError, type Position } from '../../infra/log/port/log.ts'
import { partitionName } from '../../infra/log/port/partition-name.ts'
import { retryOf } from '../../infra/retry.ts'
import { SkippedRecords } from '../../infra/runtime/internal/skipped-records.ts'
import { UnloadedRecordError } from '../unloaded-record.ts'
import { type UnreadableCounts, unreadableTotal } from '../unreadable-counts.ts'
import type { Batch, Carefulness, CommitStage } from './duckdb-batch.ts'

/** How many unreadable records one round rereads before new records are loaded. */
const ROUND_RECORDS = 512
const PAGE_BYTES = 1024 * 1024
const SHORTEST_PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 60_000
/** At most this share of the time goes into records that stay unreadable. */
const SHARE = 0.05

export interface RereadingOptions {
  readonly log: Log
  readonly connection: DuckDBConnection
  readonly careful: Carefulness
  readonly newBatch: () => Batch
  readonly batch_bytes: number
  readonly batch_rows: number
  readonly observe?: (stage: CommitStage) => unknown
}

/** Counts of what was loaded, increased in place. */
interface Loaded {
  rows: number
  records: number
}

/** Which topics are reread, and how. */
export interface Rereadable {
  readonly topics: ReadonlySet<string>
  /** Resolves to whether the batch has the rows; otherwise it has the reason why the record is unreadable. */
  readonly take: (record: LogRecord, batch: Batch) => Promise<boolean>
}

/**
 * Rereads the records of `internal.unreadable`: a blob may be back, or this release may have their schema. A record's
 * rows are inserted and its entry is deleted in one transaction, so it is loaded exactly once. Records are reread when
 * the file is opened, and then with growing pauses, since nothing signals when a blob is back.
 */
export class Rereading {
  readonly #options: RereadingOptions
  #counts: UnreadableCounts = {}
  /** The next round starts after this record; undefined: at the first. */
  #after: readonly [topic: string, partition: number, offset: bigint] | undefined
  #cycle = { began_ms: 0, loaded: 0 }
  #skipped: SkippedRecords | undefined
  #pause_ms = 0
  #due_ms = 0

  constructor(options: RereadingOptions) {
    this.#options = options
  }

  /** How many records of each topic are in no table. */
  get counts(): UnreadableCounts {
    return this.#counts
  }

  /** Counts again, after a commit that added some. */
  async count(): Promise<void> {
    const { connection } = this.#options
    const found = await connection.runAndReadAll(
      'SELECT topic, count(*)::INTEGER FROM internal.unreadable GROUP BY topic ORDER BY topic',
    )
    this.#counts = Object.fromEntries(found.getRows() as [string, number][])
  }

  /** Runs a round if one is due. */
  async whenDue(what: Rereadable, loaded: Loaded): Promise<void> {
    if (unreadableTotal(this.#counts) > 0 && performance.now() >= this.#due_ms) await this.#round(what, loaded)
  }

  /** Rereads every unreadable record once. */
  async all(what: Rereadable, loaded: Loaded): Promise<void> {
    if (unreadableTotal(this.#counts) === 0) return
    this.#after = undefined
    do await this.#round(what, loaded)
    while (this.#after !== undefined)
  }

  async #round(what: Rereadable, loaded: Loaded): Promise<void> {
    if (this.#after === undefined) this.#cycle = { began_ms: performance.now(), loaded: 0 }
    this.#skipped = await SkippedRecords.read(this.#options.log)
    const entries = await this.#entries()
    const before = loaded.records
    let is_away = false
    for (const some of Map.groupBy(entries, ({ topic, partition }) => partitionName({ topic, partition })).values()) {
      if (!what.topics.has((some[0] as Entry).topic)) continue
      is_away = await this.#reread(some, what, loaded)
      if (is_away) break
    }
    const last = entries.length < ROUND_RECORDS || is_away ? undefined : entries.at(-1)
    this.#after = last && [last.topic, last.partition, last.next]
    this.#cycle.loaded += loaded.records - before
    if (loaded.records > before) await this.count()
    if (this.#after === undefined) this.#rest()
  }

  /** A cycle is over: when it loaded nothing, the next one waits longer. */
  #rest(): void {
    const now = performance.now()
    const grown = this.#cycle.loaded > 0 ? 0 : this.#pause_ms * 2
    this.#pause_ms = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, grown))
    this.#due_ms = now + Math.max(this.#pause_ms, (now - this.#cycle.began_ms) / SHARE)
  }

  async #entries(): Promise<Entry[]> {
    const [where, values] =
      this.#after === undefined ? ['true', []] : ['(topic, "partition", "offset") > ($1, $2, $3)', [...this.#after]]
    const found = await this.#options.connection.runAndReadAll(
      `SELECT topic, "partition", "offset", error FROM internal.unreadable WHERE ${where}
       ORDER BY topic, "partition", "offset" LIMIT ${ROUND_RECORDS}`,
      values,
    )
    return (found.getRows() as [string, number, bigint, string][]).map(([topic, partition, next, error]) => {
      return { topic, partition, next, error }
    })
  }

  /**
   * Rereads some records of one partition, in order.
   * @returns whether what they need is unavailable now: their entries stay, and new records are loaded meanwhile
   */
  async #reread(entries: readonly Entry[], what: Rereadable, loaded: Loaded): Promise<boolean> {
    const { connection, careful, newBatch, observe, batch_bytes, batch_rows } = this.#options
    const known = new Map(entries.map(({ next, error }) => [next, error]))
    let batch = newBatch()
    const commit = async () => {
      const is_news = batch.healed > 0 || batch.unreadable.some(({ offset, error }) => known.get(offset) !== error)
      if (is_news) await batch.commit(connection, careful, observe)
      loaded.records += batch.healed
      loaded.rows += batch.rows
      batch = newBatch()
    }
    let is_away = false
    for (const { topic, partition, next: offset } of this.#removed(entries)) batch.heal({ topic, partition, offset })
    for await (const record of this.#recordsAt(entries)) {
      try {
        if (this.#skipped?.has(record) || (await what.take(record, batch))) batch.heal(record)
      } catch (cause) {
        if (!(cause instanceof UnloadedRecordError)) throw cause
        // Any cause that a retry cannot fix concerns this record alone.
        is_away = retryOf(cause.cause) === 'later'
        if (is_away) break
      }
      batch.bytes += record.value?.length ?? 0
      if (batch.bytes >= batch_bytes || batch.rows >= batch_rows) await commit()
    }
    await commit()
    return is_away
  }

  /** The records at some offsets of one partition; nearby ones are read together. */
  async *#recordsAt(entries: readonly Entry[]): AsyncGenerator<LogRecord> {
    const wanted = new Set(entries.map(({ next }) => next))
    let reached = 0n
    for (const [at, { topic, partition, next: from }] of entries.entries()) {
      if (from < reached) continue
      const is_alone = entries[at + 1] === undefined || (entries[at + 1] as Entry).next > from + 64n
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

  /** Entries of removed records that an operator has told every reader to skip. */
  #removed(entries: readonly Entry[]): Entry[] {
    return entries.filter(({ topic, partition, next: offset }) =>
      this.#skipped?.hasRemoved({ topic, partition, offset }),
    )
  }
}

interface Entry extends Position {
  readonly error: string
}
