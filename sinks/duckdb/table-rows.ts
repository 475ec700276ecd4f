import { type DuckDBConnection, DuckDBDataChunk, type DuckDBType, type DuckDBValue } from '@duckdb/node-api'
import type { LogRecord } from '../../infra/log/port/log.ts'
import { type Event, rowsOf } from '../../schemas/declare/event.ts'
import { valueReader } from '../../schemas/derive/duckdb-table.ts'
import { qualified, quoted } from '../../schemas/derive/sql-quoting.ts'
import { setColumn } from './column-vectors.ts'
import { toDuckDb } from './duckdb-values.ts'
import type { LoadTarget } from './event-tables.ts'

/** DuckDB's vector size: the most rows of one data chunk. */
const CHUNK_ROWS = 2048

/** A value of an event does not fit its column. */
export class UnfitValueError extends Error {
  override readonly name = 'UnfitValueError'
  readonly retry = 'never'
}

/** How each envelope column is read; any other column is a field of the event. */
export const ENVELOPE: Readonly<Record<string, (event: Event, record: LogRecord) => unknown>> = {
  ce_id: (event) => event.id,
  ce_source: (event) => event.source,
  ce_time: (event) => event.time,
  ce_clock: (event) => event.clock,
  ce_causes: (event) => event.causes,
  ce_correlation: (event) => event.correlation,
  ce_producerversion: (event) => event.producer_version,
  ce_modelhash: (event) => event.model_hash,
  ce_seed: (event) => event.seed,
  log_partition: (_event, record) => record.partition,
  log_offset: (_event, record) => record.offset,
}

/** Compiled once per table: the source of each column's value, and its conversion. */
export interface RowShape {
  readonly target: LoadTarget
  readonly types: readonly DuckDBType[]
  readonly ofEvent: readonly {
    readonly column: number
    readonly read: (event: Event, record: LogRecord) => DuckDBValue
  }[]
  readonly ofRow: readonly {
    readonly column: number
    readonly read: (row: Readonly<Record<string, unknown>>) => DuckDBValue
  }[]
  readonly rowColumn: number
}

export function rowShapeOf(target: LoadTarget): RowShape {
  const ofEvent: RowShape['ofEvent'][number][] = []
  const ofRow: RowShape['ofRow'][number][] = []
  target.columns.forEach(({ name, type }, column) => {
    const convert = toDuckDb(type)
    const envelope = ENVELOPE[name]
    if (envelope !== undefined) ofEvent.push({ column, read: (event, record) => convert(envelope(event, record)) })
    else if (name !== 'row') {
      const value = valueReader(target.type, name)
      ofRow.push({ column, read: (row) => convert(value(row)) })
    }
  })
  const rowColumn = target.columns.findIndex(({ name }) => name === 'row')
  return { target, types: target.columns.map(({ type }) => type), ofEvent, ofRow, rowColumn }
}

/** Rows of one table, by column, until their transaction. */
export class TableRows {
  readonly shape: RowShape
  readonly #columns: DuckDBValue[][]
  readonly #ids = new Set<string>()
  #count = 0

  constructor(shape: RowShape) {
    this.shape = shape
    this.#columns = shape.types.map(() => [])
  }

  get count(): number {
    return this.#count
  }

  /**
   * Adds the rows of an event. An event that is already here is left out: its rows are the same.
   *
   * @throws UnfitValueError when a value does not fit its column; no row of the event is added then.
   */
  add(event: Event, record: LogRecord): void {
    if (this.#ids.has(event.id)) return
    const rows = rowsOf(event)
    try {
      this.#push(event, record, rows)
    } catch (cause) {
      for (const column of this.#columns) column.length = this.#count
      // A RangeError means that memory ran out, not that the event is at fault.
      if (cause instanceof RangeError) throw cause
      const { schema, table } = this.shape.target
      throw new UnfitValueError(`${schema}.${table}: ${(cause as Error).message}`, { cause })
    }
    this.#ids.add(event.id)
    this.#count += rows.length
  }

  #push(event: Event, record: LogRecord, rows: readonly Readonly<Record<string, unknown>>[]): void {
    const { ofEvent, ofRow, rowColumn } = this.shape
    for (const { column, read } of ofEvent) {
      const value = read(event, record)
      const values = this.#columns[column] as DuckDBValue[]
      for (let row = 0; row < rows.length; row++) values.push(value)
    }
    for (const { column, read } of ofRow) {
      const values = this.#columns[column] as DuckDBValue[]
      for (const row of rows) values.push(read(row))
    }
    const numbers = this.#columns[rowColumn] as DuckDBValue[]
    for (let row = 0; row < rows.length; row++) numbers.push(row)
  }

  /**
   * The fast path: straight into the table.
   *
   * @throws Error (`isDuplicate`) when a row already exists; the transaction must then be rolled back.
   */
  async append(connection: DuckDBConnection): Promise<void> {
    const { schema, table } = this.shape.target
    await this.#appendTo(connection, table, schema)
  }

  /** The careful path, about half as fast: rows that already exist stay as they are. */
  async appendNew(connection: DuckDBConnection): Promise<void> {
    const { schema, table } = this.shape.target
    const staging = `staging_${schema}_${table}`
    const [from, into] = [quoted(staging), qualified(schema, table)]
    await connection.run(`CREATE OR REPLACE TEMP TABLE ${from} AS FROM ${into} LIMIT 0`)
    await this.#appendTo(connection, staging, 'main', 'temp')
    await connection.run(`INSERT OR IGNORE INTO ${into} FROM ${from}`)
    await connection.run(`DROP TABLE ${from}`)
  }

  async #appendTo(connection: DuckDBConnection, table: string, schema: string, catalog?: string): Promise<void> {
    const appender = await connection.createAppender(table, schema, catalog ?? null)
    try {
      for (let from = 0; from < this.#count; from += CHUNK_ROWS) {
        const rows = Math.min(CHUNK_ROWS, this.#count - from)
        const chunk = DuckDBDataChunk.create(this.shape.types, rows)
        for (const [column, values] of this.#columns.entries()) {
          setColumn(chunk, column, this.shape.types[column] as DuckDBType, values.slice(from, from + rows))
        }
        appender.appendDataChunk(chunk)
      }
      appender.flushSync()
    } catch (cause) {
      appender.clear() // or closing would flush again, and hide this error
      throw cause
    } finally {
      appender.closeSync()
    }
  }
}

export function isDuplicate(cause: unknown): boolean {
  return cause instanceof Error && /Duplicate key|violates (unique|primary key) constraint/i.test(cause.message)
}
