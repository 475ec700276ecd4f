import type { DuckDBConnection } from '@duckdb/node-api'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log, LogRecord, Position } from '../../infra/log/port/log.ts'
import { partitionName } from '../../infra/log/port/partition-name.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'
import { type InOrder, readInOrder, type Take } from '../read-in-order.ts'
import type { Ends } from '../read-positions.ts'
import { Rereading, type RereadPass } from '../rereading.ts'
import type { UnreadableCounts } from '../unreadable-record.ts'
import { Batch, Carefulness, type CommitStage, type Published } from './duckdb-batch.ts'
import { type LoadTarget, swapIn } from './event-tables.ts'
import { KeptRows, keptOf } from './kept-rows.ts'
import { LoadedPositions } from './loaded-positions.ts'
import { type RowShape, rowShapeOf } from './table-rows.ts'
import { takeEvent, takeState } from './take-record.ts'
import { UnreadableTable } from './unreadable-table.ts'
import { createViews } from './user-views.ts'
import type { View } from './views/view.ts'

export interface LoaderOptions {
  readonly log: Log
  readonly vocabulary: Catalogue
  readonly blobs?: Blobs
  /** For messages. */
  readonly file: string
  readonly connection: DuckDBConnection
  readonly targets: readonly LoadTarget[]
  readonly views: readonly View[]
  readonly batch_bytes: number
  readonly batch_rows: number
  readonly kept_from_groups?: number
  readonly observe?: (stage: CommitStage) => unknown
}

export interface Loaded {
  /** Event rows and dead letters that were added to batches; a duplicate in a later batch counts again. */
  readonly rows: number
  readonly records: number
}

/**
 * One pass over the log, in an order that keeps the funnel exact while the folds keep running:
 *
 * 1. read the positions P that each fold has committed;
 * 2. read the ends of the changelogs, then the ends E of the event topics and the dead letters: every changelog record
 *    below its end was committed together with outputs below E;
 * 3. load events and dead letters up to E; swap in rebuilt tables;
 * 4. load changelogs up to their ends, then publish P.
 *
 * This takes as many transactions as needed, in this order; with a small lag, one. So state and outputs are never older
 * than the published P. An interrupted pass leaves an older P, for which the same holds.
 */
export class Loader {
  readonly #options: LoaderOptions
  readonly #shapes = new Map<string, RowShape>()
  readonly #positions: LoadedPositions
  readonly #inOrder: InOrder<Batch>
  readonly #careful = new Carefulness()
  readonly #newBatch: () => Batch
  readonly #published = new Map<string, bigint>()
  readonly #unreadable: UnreadableTable
  readonly #rereading: Rereading<Batch>
  readonly #kept: readonly KeptRows[]
  /** Folds whose state and positions the views count. */
  readonly #folds: readonly string[]

  private constructor(options: LoaderOptions) {
    this.#options = options
    const { connection, kept_from_groups, views } = options
    this.#kept = keptOf(views).map((view) => new KeptRows(connection, view, kept_from_groups))
    this.#folds = [...new Set(views.flatMap(({ folds = [] }) => folds))]
    this.#newBatch = () => new Batch(keptOf(views))
    this.#unreadable = new UnreadableTable(connection)
    this.#positions = new LoadedPositions(options.log, options.file, options.connection)
    const { log, batch_bytes, batch_rows } = options
    const isFull = ({ bytes, rows }: Batch) => bytes >= batch_bytes || rows >= batch_rows
    this.#inOrder = { log, positions: this.#positions.read, batch_bytes, isFull }
    this.#rereading = new Rereading({ ...this.#inOrder, list: this.#unreadable, newBatch: this.#newBatch })
    for (const target of options.targets) this.#shapes.set(target.type.type, rowShapeOf(target))
  }

  static async open(options: LoaderOptions): Promise<Loader> {
    const loader = new Loader(options)
    await loader.reload()
    return loader
  }

  /** Replaces the positions in memory with the committed ones. */
  async reload(): Promise<void> {
    const { connection } = this.#options
    const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRows()
    await this.#positions.reload()
    this.#published.clear()
    for (const [fold, topic, partition, next] of await rows('FROM internal.processor_positions')) {
      this.#published.set(publishedAs(fold as string, topic as string, partition as number), next as bigint)
    }
    // A failed transaction may have left rows in the connection's temporary tables.
    for (const staging of ['state_staging', 'changed_groups']) await connection.run(`DELETE FROM ${staging}`)
    await this.#unreadable.count()
  }

  /** How many records of each topic are in no table, because they cannot be read. */
  get unreadable(): UnreadableCounts {
    return this.#unreadable.counts()
  }

  /** Rereads every unreadable record, and reads no new ones. */
  async reread(): Promise<Loaded> {
    const loaded = { rows: 0, records: 0 }
    await this.#compare()
    loaded.records = await this.#rereading.all(this.#reread(await this.#eventEnds(), loaded, undefined))
    return loaded
  }

  /**
   * @param reread which unreadable records are reread
   * @throws WrongLogError when the file was not loaded from this log as it is now.
   * @throws Error when the log, the blobs or DuckDB failed; what was committed stays, the rest is dropped.
   */
  async pass(reread: 'all' | 'when due', signal?: AbortSignal): Promise<Loaded> {
    const { log } = this.#options
    const folds = this.#folds
    const adopted = await this.#compare()
    const exists = this.#positions.read.topics
    const committed = new Map<string, readonly Position[]>()
    for (const fold of folds) committed.set(fold, await log.committed(fold))
    const changelogs = await this.#positions.read.endsOf(folds.map(changelogTopic).filter((topic) => exists.has(topic)))
    const events = await this.#eventEnds()

    const loading = new Loading(this.#newBatch)
    for (const position of adopted) loading.batch.moveTo(position)
    const rereading = this.#reread(events, loading.loaded, signal)
    loading.loaded.records +=
      reread === 'all' ? await this.#rereading.all(rereading) : await this.#rereading.whenDue(rereading)
    await this.#load(loading, events, rereading.take, signal)
    const built = [...this.#shapes.values()].filter(({ target }) => target.building)
    if (built.length > 0) {
      await this.#commit(loading)
      if (!signal?.aborted) await this.#swapIn(built)
    }
    const takeChange = (record: LogRecord, batch: Batch) => takeState(record, batch, log)
    await this.#load(loading, changelogs, takeChange, signal)
    if (!signal?.aborted) loading.batch.publish(this.#moved(committed))
    await this.#commit(loading)
    const resting = reread === 'all' || loading.loaded.records === 0
    for (const rows of this.#kept) if (!signal?.aborted) await rows.keep(resting, signal)
    return loading.loaded
  }

  /** An upper bound of the records that are not loaded yet. */
  async lag(): Promise<bigint> {
    const topics = [...this.#shapes.keys(), DEAD_LETTERS_TOPIC, ...this.#folds.map(changelogTopic)]
    return await this.#positions.read.lag(topics)
  }

  #compare(): Promise<readonly Position[]> {
    return this.#positions.compare([...this.#shapes.values()].map(({ target }) => target))
  }

  async #eventEnds(): Promise<Ends> {
    const exists = this.#positions.read.topics
    return await this.#positions.read.endsOf(
      [...this.#shapes.keys(), DEAD_LETTERS_TOPIC].filter((topic) => exists.has(topic)),
    )
  }

  #reread(ends: Ends, loaded: { rows: number }, signal: AbortSignal | undefined): RereadPass<Batch> {
    const { vocabulary, blobs, connection, observe } = this.#options
    const partitionsOf = (topic: string) => ends.get(topic)?.length
    const taking = { vocabulary, blobs, shapes: this.#shapes, partitionsOf }
    return {
      topics: new Set(ends.keys()),
      take: (record, batch) => takeEvent(record, batch, taking),
      commit: async (batch) => {
        await batch.commit(connection, this.#careful, observe)
        loaded.rows += batch.rows
        await this.#unreadable.count()
      },
      signal,
    }
  }

  /** Loads up to `ends`. The last batch is left uncommitted, so that the caller can add to it. */
  async #load(loading: Loading, ends: Ends, take: Take<Batch>, signal: AbortSignal | undefined): Promise<void> {
    while (!signal?.aborted) {
      if (await readInOrder(this.#inOrder, loading.batch, ends, take)) return
      await this.#commit(loading)
    }
  }

  async #commit(loading: Loading): Promise<void> {
    const { batch, loaded } = loading
    if (batch.isEmpty) return
    await this.#positions.read.compareAgain(batch.positions)
    await batch.commit(this.#options.connection, this.#careful, this.#options.observe)
    for (const position of batch.positions) this.#positions.read.settle(position)
    for (const { fold, topic, partition, next } of batch.published) {
      this.#published.set(publishedAs(fold, topic, partition), next)
    }
    loaded.rows += batch.rows
    loaded.records += batch.records
    if (batch.unreadable.length > 0) await this.#unreadable.count()
    loading.batch = this.#newBatch()
  }

  /** Rebuilt tables are loaded as far as the others: they replace the old ones. */
  async #swapIn(built: readonly RowShape[]): Promise<void> {
    const { connection } = this.#options
    await inTransaction(connection, async () => {
      const swapped: LoadTarget[] = []
      for (const { target } of built) swapped.push(await swapIn(connection, target))
      await createViews(connection, this.#options.views, { force: true })
      for (const target of swapped) this.#shapes.set(target.type.type, rowShapeOf(target))
    })
  }

  /** Positions of folds that are not published yet. */
  #moved(committed: ReadonlyMap<string, readonly Position[]>): Published[] {
    return [...committed]
      .flatMap(([fold, positions]) => positions.map((position) => ({ fold, ...position })))
      .filter(({ fold, topic, partition, next }) => this.#published.get(publishedAs(fold, topic, partition)) !== next)
  }
}

/** What one pass has done, and what it will commit next. */
class Loading {
  batch: Batch
  readonly loaded = { rows: 0, records: 0 }

  constructor(newBatch: () => Batch) {
    this.batch = newBatch()
  }
}

const publishedAs = (fold: string, topic: string, partition: number) =>
  `${fold}\0${partitionName({ topic, partition })}`

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
