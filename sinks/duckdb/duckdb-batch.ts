import { BIGINT, type DuckDBConnection, type DuckDBType, type DuckDBValue, INTEGER, VARCHAR } from '@duckdb/node-api'
import type { LogRecord, Position } from '../../infra/log/port/log.ts'
import { encodeSeen } from '../../infra/log/port/seen.ts'
import type { DeadLetter } from '../../infra/runtime/internal/internal-topics.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { SinkBatch } from '../sink-batch.ts'
import { ChangedKeys, type KeptView } from './kept-rows.ts'
import { isDuplicate, type RowShape, TableRows } from './table-rows.ts'

/** Where a test may kill the process. */
export type CommitStage = 'appended' | 'committed'

export interface StateChange {
  readonly processor: string
  readonly partition: number
  readonly key: string
  /** JSON; null deletes the key. */
  readonly state: string | null
}

/** How far a fold had read. */
export interface Published extends Position {
  readonly fold: string
}

/** How many batches a table stays on the careful path after a duplicate: duplicates come in runs. */
const CAREFUL_BATCHES = 16

/** Which tables use the careful path, and for how many more batches. Outlives the batches. */
export class Carefulness {
  readonly #left = new Map<string, number>()

  /** A tick is written to every partition under one id, so its table always has duplicates. */
  of({ target: { type } }: RowShape): boolean {
    return type.routing === 'every_partition' || (this.#left.get(type.type) ?? 0) > 0
  }
  found({ target: { type } }: RowShape): void {
    this.#left.set(type.type, CAREFUL_BATCHES)
  }
  committed(): void {
    for (const [type, left] of this.#left) this.#left.set(type, left - 1)
  }
}

/**
 * The content of one DuckDB transaction: rows, unreadable records, and the log positions after them. All of it stays in
 * memory until the commit succeeds, so a failed commit can be retried or dropped without a trace.
 */
export class Batch extends SinkBatch {
  readonly #tables = new Map<string, TableRows>()
  #published: readonly Published[] = []
  readonly #deadLetters: DuckDBValue[][] = []
  readonly #states = new Map<string, StateChange>()
  readonly #changed: ChangedKeys

  /** @param kept the views whose rows are stored */
  constructor(kept: readonly KeptView[]) {
    super()
    this.#changed = new ChangedKeys(kept)
  }

  get rows(): number {
    let rows = this.#deadLetters.length
    for (const table of this.#tables.values()) rows += table.count
    return rows
  }
  get published(): readonly Published[] {
    return this.#published
  }
  get isEmpty(): boolean {
    return this.positions.length === 0 && this.#published.length === 0
  }

  /** @throws UnfitValueError when a value does not fit its column. */
  addEvent(shape: RowShape, event: Event, record: LogRecord): void {
    const rows = this.#tables.get(event.type) ?? new TableRows(shape)
    this.#tables.set(event.type, rows)
    rows.add(event, record)
    this.#changed.add(event)
  }

  addDeadLetter(record: LogRecord, letter: DeadLetter): void {
    const { processor, failure, topic, partition, offset, error, ce_id, ce_type, rows, key } = letter
    const where = [record.partition, record.offset]
    this.#deadLetters.push([
      ...where,
      processor,
      failure,
      topic,
      partition,
      BigInt(offset),
      error,
      ce_id,
      ce_type,
      rows,
      key,
    ])
  }

  addState(change: StateChange): void {
    this.#states.set(`${change.processor}\0${change.key}`, change)
  }

  /** Publishes fold positions in the transaction that loads their last changelog record. */
  publish(published: readonly Published[]): void {
    this.#published = published
  }

  /**
   * Commits rows and positions in one transaction; retried on the careful path if a row already exists.
   *
   * @throws Error when DuckDB could not commit. The transaction is rolled back, the batch unchanged.
   */
  async commit(
    connection: DuckDBConnection,
    careful: Carefulness,
    observe?: (stage: CommitStage) => unknown,
  ): Promise<void> {
    while (!(await this.#tryCommit(connection, careful, observe)));
    careful.committed()
  }

  async #tryCommit(
    connection: DuckDBConnection,
    careful: Carefulness,
    observe?: (stage: CommitStage) => unknown,
  ): Promise<boolean> {
    await connection.run('BEGIN')
    try {
      for (const rows of this.#tables.values()) {
        if (careful.of(rows.shape)) {
          await rows.appendNew(connection)
          continue
        }
        try {
          await rows.append(connection)
        } catch (cause) {
          if (!isDuplicate(cause)) throw cause
          careful.found(rows.shape)
          await connection.run('ROLLBACK')
          return false
        }
      }
      await this.#changed.drop(connection)
      await this.#commitInternal(connection)
      await observe?.('appended')
      await connection.run('COMMIT')
    } catch (cause) {
      await connection.run('ROLLBACK').catch(() => {})
      throw cause
    }
    await observe?.('committed')
    return true
  }

  async #commitInternal(connection: DuckDBConnection): Promise<void> {
    const unreadable = this.unreadable.map((one) => [one.topic, one.partition, one.offset, one.ce_id, one.error])
    await insertAll(connection, 'INSERT OR REPLACE INTO internal.unreadable', unreadable, UNREADABLE_TYPES)
    for (const { topic, partition, offset } of this.healed) {
      await connection.run('DELETE FROM internal.unreadable WHERE topic = $1 AND "partition" = $2 AND "offset" = $3', [
        topic,
        partition,
        offset,
      ])
    }
    await insertAll(connection, 'INSERT OR IGNORE INTO internal.dead_letters', this.#deadLetters, DEAD_LETTER_TYPES)
    await mergeStates(connection, [...this.#states.values()])
    const positions = this.positions.map(({ topic, partition, next, seen }) => {
      return [topic, partition, next, seen === undefined ? null : encodeSeen(seen)]
    })
    await insertAll(connection, 'INSERT OR REPLACE INTO internal.positions', positions, POSITION_TYPES)
    const published = this.#published.map(({ fold, topic, partition, next }) => [fold, topic, partition, next])
    await insertAll(connection, 'INSERT OR REPLACE INTO internal.processor_positions', published, PUBLISHED_TYPES)
  }
}

const POSITION_TYPES = [VARCHAR, INTEGER, BIGINT, VARCHAR]
const UNREADABLE_TYPES = [VARCHAR, INTEGER, BIGINT, VARCHAR, VARCHAR]
const DEAD_LETTER_TYPES = [
  INTEGER,
  BIGINT,
  VARCHAR,
  VARCHAR,
  VARCHAR,
  INTEGER,
  BIGINT,
  VARCHAR,
  VARCHAR,
  VARCHAR,
  INTEGER,
  VARCHAR,
]

const PUBLISHED_TYPES = [VARCHAR, VARCHAR, INTEGER, BIGINT]

const STATEMENT_ROWS = 64

/** Groups rows: a statement takes 2 ms, with one row or with many. */
async function insertAll(
  connection: DuckDBConnection,
  into: string,
  rows: readonly DuckDBValue[][],
  types: readonly DuckDBType[],
): Promise<void> {
  if (rows.length === 0) return
  const row = `(${types.map(() => '?').join(', ')})`
  for (let from = 0; from < rows.length; from += STATEMENT_ROWS) {
    const some = rows.slice(from, from + STATEMENT_ROWS)
    await connection.run(
      `${into} VALUES ${some.map(() => row).join(', ')}`,
      some.flat(),
      some.flatMap(() => types),
    )
  }
}

async function mergeStates(connection: DuckDBConnection, changes: readonly StateChange[]): Promise<void> {
  if (changes.length === 0) return
  const appender = await connection.createAppender('state_staging', 'main', 'temp')
  for (const { processor, partition, key, state } of changes) {
    appender.appendVarchar(processor)
    appender.appendInteger(partition)
    appender.appendVarchar(key)
    if (state === null) appender.appendNull()
    else appender.appendVarchar(state)
    appender.endRow()
  }
  appender.closeSync()
  await connection.run(`
    DELETE FROM internal.state AS kept USING state_staging AS gone
    WHERE gone.state IS NULL AND kept.processor = gone.processor AND kept.key = gone.key`)
  await connection.run(`
    INSERT OR REPLACE INTO internal.state
    SELECT processor, "partition", key, state FROM state_staging WHERE state IS NOT NULL`)
  await connection.run('DELETE FROM state_staging')
}
