import type { DuckDBConnection } from '@duckdb/node-api'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import { type Log, type LogRecord, OffsetGoneError, type Position, type ReadResult } from '../../infra/log/log.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal-topics.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { Batch, Carefulness, type CommitStage, type Published, placeOf } from './batch.ts'
import { type LoadTarget, swapIn } from './event-tables.ts'
import { type RowShape, rowShapeOf } from './table-rows.ts'
import { takeEvent, takeState } from './take-record.ts'
import { createViews } from './user-views.ts'

export interface LoaderOptions {
  readonly log: Log
  readonly vocabulary: Catalogue
  readonly blobs?: Blobs
  readonly connection: DuckDBConnection
  readonly targets: readonly LoadTarget[]
  /** Folds whose state and positions the funnel counts. */
  readonly folds: readonly string[]
  readonly batch_bytes: number
  readonly batch_rows: number
  readonly observe?: (stage: CommitStage) => unknown
}

export interface Loaded {
  /** Event rows and dead letters that were taken, duplicates in the log included. */
  readonly rows: number
  readonly records: number
}

/** The file knows positions that the log does not have. */
export class WrongLogError extends Error {
  override readonly name = 'WrongLogError'
}

/** What is behind the end of a log that is followed, not of one that is caught up with. */
const FEW_RECORDS = 4_096n

type Ends = ReadonlyMap<string, readonly bigint[]>

/**
 * One pass over the log, in an order that keeps the funnel exact while everything moves:
 *
 * 1. the positions P that each fold has committed;
 * 2. the ends of the changelogs, and after them the ends E of the event topics and the dead letters: whatever a
 *    changelog says below its end was committed together with outputs that lie below E;
 * 3. events and dead letters up to E; tables made anew are swapped in;
 * 4. changelogs up to their ends, and then P.
 *
 * In as many transactions as it takes, in this order; where little is behind, in one. So state and outputs are never
 * older than the published P. A pass that breaks off anywhere leaves an older P, for which that holds as well.
 */
export class Loader {
  readonly #options: LoaderOptions
  readonly #shapes = new Map<string, RowShape>()
  readonly #positions = new Map<string, bigint>()
  readonly #careful = new Carefulness()
  readonly #published = new Map<string, bigint>()

  private constructor(options: LoaderOptions) {
    this.#options = options
    for (const target of options.targets) this.#shapes.set(target.type.type, rowShapeOf(target))
  }

  static async open(options: LoaderOptions): Promise<Loader> {
    const loader = new Loader(options)
    await loader.reload()
    return loader
  }

  /** Forgets what is in memory for what has committed. */
  async reload(): Promise<void> {
    const { connection } = this.#options
    const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRows()
    this.#positions.clear()
    for (const [topic, partition, next] of await rows('SELECT topic, "partition", next FROM internal.positions')) {
      this.#positions.set(placeOf(topic as string, partition as number), next as bigint)
    }
    this.#published.clear()
    for (const [fold, topic, partition, next] of await rows('FROM internal.processor_positions')) {
      this.#published.set(publishedAs(fold as string, topic as string, partition as number), next as bigint)
    }
    // A transaction that broke off may have left rows in a table of the connection's own.
    await connection.run('DELETE FROM state_staging')
  }

  /** @throws Error when the log, the blobs or DuckDB failed; what had committed stays, nothing else did. */
  async pass(signal?: AbortSignal): Promise<Loaded> {
    const { log, folds } = this.#options
    const partitions = new Map((await log.topics()).map(({ name, partitions }) => [name, partitions]))
    const committed = new Map<string, readonly Position[]>()
    for (const fold of folds) committed.set(fold, await log.committed(fold))
    const changelogs = await this.#endsOf(folds.map(changelogTopic).filter((topic) => partitions.has(topic)))
    const events = await this.#endsOf(
      [...this.#shapes.keys(), DEAD_LETTERS_TOPIC].filter((topic) => partitions.has(topic)),
    )

    const loading = new Loading()
    const { vocabulary, blobs } = this.#options
    const taking = {
      vocabulary,
      blobs,
      shapes: this.#shapes,
      partitionsOf: (topic: string) => events.get(topic)?.length,
    }
    await this.#load(loading, events, (record, batch) => takeEvent(record, batch, taking), signal)
    const built = [...this.#shapes.values()].filter(({ target }) => target.building)
    if (built.length > 0) {
      await this.#commit(loading)
      if (!signal?.aborted) await this.#swapIn(built)
    }
    await this.#load(loading, changelogs, takeState, signal)
    if (!signal?.aborted) loading.batch.publish(this.#moved(committed))
    await this.#commit(loading)
    return loading.loaded
  }

  /** An upper bound of the records that are not loaded yet. */
  async lag(): Promise<bigint> {
    const { log, folds } = this.#options
    const exists = new Set((await log.topics()).map(({ name }) => name))
    const topics = [...this.#shapes.keys(), DEAD_LETTERS_TOPIC, ...folds.map(changelogTopic)]
    let behind = 0n
    for (const [topic, ends] of await this.#endsOf(topics.filter((topic) => exists.has(topic)))) {
      ends.forEach((end, partition) => {
        const next = this.#positionOf(topic, partition)
        if (end > next) behind += end - next
      })
    }
    return behind
  }

  async #endsOf(topics: readonly string[]): Promise<Ends> {
    const ends = await Promise.all(topics.map((topic) => this.#options.log.endOffsets(topic)))
    return new Map(topics.map((topic, at) => [topic, ends[at] as readonly bigint[]]))
  }

  /** Up to the ends; the last batch is left to the caller, for what else fits into it. */
  async #load(
    loading: Loading,
    ends: Ends,
    take: (record: LogRecord, batch: Batch) => unknown,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    while (!signal?.aborted) {
      if (await this.#fill(loading.batch, ends, take)) return
      await this.#commit(loading)
    }
  }

  async #commit(loading: Loading): Promise<void> {
    const { batch, loaded } = loading
    if (batch.isEmpty) return
    await batch.commit(this.#options.connection, this.#careful, this.#options.observe)
    for (const { topic, partition, next } of batch.positions) this.#positions.set(placeOf(topic, partition), next)
    for (const { fold, topic, partition, next } of batch.published) {
      this.#published.set(publishedAs(fold, topic, partition), next)
    }
    loaded.rows += batch.rows
    loaded.records += batch.records
    loading.batch = new Batch()
  }

  /**
   * Reads on, topic by topic (causes before what follows from them), until the batch is full or nothing is left.
   * @returns whether nothing is left
   */
  async #fill(batch: Batch, ends: Ends, take: (record: LogRecord, batch: Batch) => unknown): Promise<boolean> {
    const { batch_bytes, batch_rows } = this.#options
    const pages = await this.#firstPages(ends)
    for (const [topic, partitionEnds] of ends) {
      for (const [partition, end] of partitionEnds.entries()) {
        for (;;) {
          const from = batch.positionOf(topic, partition) ?? this.#positionOf(topic, partition)
          if (from > end) throw this.#wrongLog(topic, partition, from, end)
          if (from === end) break
          if (batch.bytes >= batch_bytes || batch.rows >= batch_rows) return false
          const next = await this.#readOn(batch, { topic, partition, next: from }, end, take, pages)
          if (next === from) break
          batch.moveTo({ topic, partition, next })
        }
      }
    }
    return true
  }

  /**
   * The first records of every partition that has some, asked for together: over a network each answer takes its time,
   * and behind the end of the log there are as many as partitions. With a backlog nothing is gained by it.
   */
  async #firstPages(ends: Ends): Promise<Map<string, ReadResult>> {
    const { log, batch_bytes } = this.#options
    const wanted: Position[] = []
    let pending = 0n
    for (const [topic, partitionEnds] of ends) {
      for (const [partition, end] of partitionEnds.entries()) {
        const next = this.#positionOf(topic, partition)
        if (next >= end) continue
        pending += end - next
        wanted.push({ topic, partition, next })
      }
    }
    const pages = new Map<string, ReadResult>()
    if (pending > FEW_RECORDS) return pages
    const max_bytes = Math.floor(batch_bytes / Math.max(1, wanted.length))
    await Promise.all(
      wanted.map(async ({ topic, partition, next: from }) => {
        // What failed is read once more by itself, and says there why.
        const page = await log.read({ topic, partition, from, max_bytes }).catch(() => undefined)
        if (page !== undefined) pages.set(placeOf(topic, partition), page)
      }),
    )
    return pages
  }

  async #readOn(
    batch: Batch,
    { topic, partition, next: from }: Position,
    end: bigint,
    take: (record: LogRecord, batch: Batch) => unknown,
    pages: Map<string, ReadResult>,
  ): Promise<bigint> {
    const { log, batch_bytes } = this.#options
    const place = placeOf(topic, partition)
    const page = pages.get(place)
    pages.delete(place)
    try {
      const { records, next } =
        page ?? (await log.read({ topic, partition, from, max_bytes: batch_bytes - batch.bytes }))
      for (const record of records) {
        if (record.offset >= end) return end
        await take(record, batch)
        batch.records += 1
        batch.bytes += (record.value?.length ?? 0) + (record.key?.length ?? 0)
      }
      return next < end ? next : end
    } catch (cause) {
      if (!(cause instanceof OffsetGoneError)) throw cause
      const first = (await log.beginningOffsets(topic))[partition] ?? end
      if (first <= from) throw cause
      const error = `retention removed offsets ${from} … ${first - 1n} before they were loaded`
      batch.addUnreadable(topic, partition, from, null, error)
      return first < end ? first : end
    }
  }

  /** Tables that were made anew have come as far as the others: they take the place of the old ones. */
  async #swapIn(built: readonly RowShape[]): Promise<void> {
    const { connection } = this.#options
    await inTransaction(connection, async () => {
      const swapped: LoadTarget[] = []
      for (const { target } of built) swapped.push(await swapIn(connection, target))
      await createViews(connection, true)
      for (const target of swapped) this.#shapes.set(target.type.type, rowShapeOf(target))
    })
  }

  /** Positions of folds that are not published yet. */
  #moved(committed: ReadonlyMap<string, readonly Position[]>): Published[] {
    return [...committed]
      .flatMap(([fold, positions]) => positions.map((position) => ({ fold, ...position })))
      .filter(({ fold, topic, partition, next }) => this.#published.get(publishedAs(fold, topic, partition)) !== next)
  }

  #positionOf(topic: string, partition: number): bigint {
    return this.#positions.get(placeOf(topic, partition)) ?? 0n
  }

  #wrongLog(topic: string, partition: number, from: bigint, end: bigint): WrongLogError {
    return new WrongLogError(
      `${topic} partition ${partition} is loaded up to offset ${from}, but ${this.#options.log.address} ends at ${end}: the DuckDB file was loaded from another log; delete it (it is made again from the log), or name the right one with --log`,
    )
  }
}

/** What one pass has done, and what it will commit next. */
class Loading {
  batch = new Batch()
  readonly loaded = { rows: 0, records: 0 }
}

const publishedAs = (fold: string, topic: string, partition: number) => `${fold}\0${placeOf(topic, partition)}`

export async function inTransaction(connection: DuckDBConnection, work: () => Promise<void>): Promise<void> {
  await connection.run('BEGIN')
  try {
    await work()
    await connection.run('COMMIT')
  } catch (cause) {
    await connection.run('ROLLBACK').catch(() => {})
    throw cause
  }
}
