import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { literal, qualified, quoted } from '../../schemas/derive/sql-quoting.ts'
import { SqlFailedError, SqlRefusedError, SqlTimeoutError } from './sql-errors.ts'

export interface ParquetRequest {
  /** A view, or SCHEMA.TABLE. */
  readonly table: string
  /** Columns whose values become folders: dataset=…/task=…; one file when there are none. */
  readonly by: readonly string[]
}

export interface ParquetExport {
  readonly rows: number
  /** A complete folder inside the export folder; the caller moves it to its destination. */
  readonly folder: string
}

/** Remains of a killed export are removed after this time. */
const FORGOTTEN_MS = 24 * 3_600_000

/**
 * Writes a table or view as Parquet into a new folder of the export folder, the only place that the database may write
 * to. Names are untrusted: they are looked up, never pasted. The caller cannot choose the destination.
 *
 * @throws SqlRefusedError when the table or a column does not exist; SqlTimeoutError, SqlFailedError
 */
export async function exportParquet(
  connection: DuckDBConnection,
  { table, by }: ParquetRequest,
  export_dir: string,
  time_limit_ms: number,
): Promise<ParquetExport> {
  const folder = join(resolve(export_dir), randomUUID())
  let timed_out = false
  const timer = setTimeout(() => {
    timed_out = true
    connection.interrupt()
  }, time_limit_ms)
  try {
    const source = await known(connection, table, by)
    mkdirSync(folder, { recursive: true })
    removeForgotten(resolve(export_dir))
    const options = ['FORMAT parquet', 'COMPRESSION zstd']
    const parts = by.length === 0 ? [] : [`PARTITION_BY (${by.map(quoted).join(', ')})`, 'OVERWRITE_OR_IGNORE']
    const copy = (to: string, more: readonly string[]) =>
      connection.runAndReadAll(`COPY (FROM ${source}) TO ${literal(to)} (${[...options, ...more].join(', ')})`)
    const copied = await copy(by.length === 0 ? join(folder, 'data.parquet') : folder, parts)
    const rows = Number(copied.getRows()[0]?.[0] ?? 0)
    // Without rows there are no folders: write one file, so that a reader finds the columns.
    if (rows === 0 && by.length > 0) await copy(join(folder, 'data.parquet'), [])
    return { rows, folder }
  } catch (cause) {
    rmSync(folder, { recursive: true, force: true })
    if (cause instanceof SqlRefusedError) throw cause
    if (timed_out)
      throw new SqlTimeoutError(`the export was interrupted after ${time_limit_ms / 1000} s; raise --timeout`, {
        cause,
      })
    throw new SqlFailedError(cause instanceof Error ? cause.message : String(cause), { cause })
  } finally {
    clearTimeout(timer)
    connection.disconnectSync()
  }
}

/** The table's name as SQL. */
async function known(connection: DuckDBConnection, table: string, by: readonly string[]): Promise<string> {
  const found = await connection.runAndReadAll(
    `SELECT schema_name, table_name, list(column_name ORDER BY column_index)
     FROM duckdb_columns()
     WHERE NOT internal AND database_name = current_database() AND schema_name <> 'internal'
     GROUP BY ALL ORDER BY ALL`,
  )
  const tables = found.getRowsJson().map(([schema, name, columns]) => ({
    name: schema === 'main' ? String(name) : `${schema}.${name}`,
    sql: qualified(String(schema), String(name)),
    columns: columns as string[],
  }))
  const chosen = tables.find(({ name }) => name === table)
  if (chosen === undefined) {
    throw new SqlRefusedError(`${table}: no such table or view; there are ${tables.map(({ name }) => name).join(', ')}`)
  }
  const unknown = by.find((column) => !chosen.columns.includes(column))
  if (unknown !== undefined) {
    throw new SqlRefusedError(`${table} has no column ${unknown}; it has ${chosen.columns.join(', ')}`)
  }
  if (by.length > 0 && by.length >= chosen.columns.length) {
    throw new SqlRefusedError(`${table}: a column must be left that is no folder`)
  }
  return chosen.sql
}

function removeForgotten(export_dir: string): void {
  for (const name of readdirSync(export_dir)) {
    const path = join(export_dir, name)
    const age_ms = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
    if (age_ms > FORGOTTEN_MS) rmSync(path, { recursive: true, force: true })
  }
}
