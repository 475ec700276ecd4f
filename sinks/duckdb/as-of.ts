import type { DuckDBConnection } from '@duckdb/node-api'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { literal, qualified, quoted } from '../../schemas/derive/sql-quoting.ts'
import { SqlRefusedError } from './sql-errors.ts'
import type { ArrowResult } from './sql-result.ts'
import { runStatement, type SqlLimits } from './sql-statement.ts'
import { viewStatementsIn } from './user-views.ts'

/** For each topic, the end offset of each partition: records at or after it are hidden. A missing topic is empty. */
export type AsOf = Readonly<Record<string, readonly number[]>>

let made = 0

/**
 * Runs one statement over the tables as they were when the log ended at these offsets. It runs in its own in-memory
 * database, whose views show only the rows below them; the user views are made over those. The statement is checked and
 * limited as usual.
 *
 * Fold state has no history: a completion without an outcome at these offsets is `pending_unread`.
 *
 * @throws SqlRefusedError when a topic has no table or is not loaded that far; and as `runStatement`.
 */
export async function runStatementAsOf(
  connect: () => Promise<DuckDBConnection>,
  sql: string,
  as_of: AsOf,
  limits: SqlLimits,
): Promise<ArrowResult> {
  const name = `as_of_${made++}`
  let attached = true
  const detach = async () => {
    if (!attached) return
    attached = false
    const connection = await connect().catch(() => undefined)
    await connection?.run(`DETACH DATABASE IF EXISTS ${name}`).catch(() => {})
    connection?.disconnectSync()
  }
  const connection = await connect()
  let result: ArrowResult
  try {
    await makeViews(connection, name, checked(as_of))
    result = await runStatement(connection, sql, limits)
  } catch (cause) {
    connection.disconnectSync()
    await detach()
    throw cause
  }
  async function* chunks() {
    try {
      yield* result.chunks
    } finally {
      await detach()
    }
  }
  const close = async () => {
    await result.close()
    await detach()
  }
  return { columns: result.columns, chunks: chunks(), close }
}

/** Offsets are untrusted input and become part of the SQL: accept only non-negative integers. */
function checked(as_of: AsOf): ReadonlyMap<string, readonly number[]> {
  const isOffset = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
  const entries = Object.entries(as_of)
  if (!entries.every(([, offsets]) => Array.isArray(offsets) && offsets.every(isOffset))) {
    throw new SqlRefusedError('as of: expected {"TOPIC": [offset of each partition], …}')
  }
  return new Map(entries)
}

/** Filters for the sink's own tables; a table that is not listed is shown whole. */
const INTERNAL: Readonly<Record<string, (as_of: ReadonlyMap<string, readonly number[]>) => string>> = {
  dead_letters: (as_of) => below(as_of.get(DEAD_LETTERS_TOPIC) ?? [], 'log_partition', 'log_offset'),
  unreadable: (as_of) =>
    [...as_of]
      .map(([topic, ends]) => `(topic = ${literal(topic)} AND ${below(ends, '"partition"', '"offset"')})`)
      .join(' OR ') || 'false',
  state: () => 'false',
  processor_positions: () => 'false',
}

/** Rows that a view stores (`kept-rows.ts`) reflect the present, so all of its rows are joined from the events. */
const internalRows = (table: string, as_of: ReadonlyMap<string, readonly number[]>) =>
  table.startsWith('kept_') ? 'false' : (INTERNAL[table]?.(as_of) ?? 'true')

const VIEWS_OF_EARLIER =
  'as of: an earlier release made the views of these tables; rebuild them with: plumbline run --until-idle'

async function makeViews(connection: DuckDBConnection, name: string, as_of: ReadonlyMap<string, readonly number[]>) {
  const rowsOf = async (sql: string) => (await connection.runAndReadAll(sql)).getRows()
  const [[database]] = (await rowsOf('SELECT current_database()')) as [[string]]
  const loaded = new Map(
    (await rowsOf('SELECT topic, "partition", next FROM internal.positions')).map(([topic, partition, next]) => [
      `${topic}/${partition}`,
      Number(next),
    ]),
  )
  const tables = (await rowsOf(`
    SELECT schema_name, table_name, list_contains(list(column_name), 'log_offset') AS logged,
      list_contains(list(column_name), 'kept') AS keeps
    FROM duckdb_columns() JOIN duckdb_tables() USING (database_name, schema_name, table_name)
    WHERE database_name = current_database()
    GROUP BY ALL`)) as [string, string, boolean, boolean][]
  const events = (await rowsOf("SELECT name[7:] FROM internal.meta WHERE name LIKE 'table:%'")) as [string][]
  const topics = [...events.flat().sort(), DEAD_LETTERS_TOPIC]
  for (const [topic, ends] of as_of) {
    refuseUnknown(topic, topics)
    refuseFuture(topic, ends, loaded)
  }
  const statements = await viewStatementsIn(connection)
  if (statements === undefined) throw new SqlRefusedError(VIEWS_OF_EARLIER)
  await connection.run(`ATTACH ':memory:' AS ${name} (READ_WRITE)`)
  for (const schema of new Set(tables.map(([schema]) => schema))) {
    if (schema !== 'main') await connection.run(`CREATE SCHEMA ${name}.${quoted(schema)}`)
  }
  for (const [schema, table, logged, keeps] of tables) {
    const topic = `${schema}.${table}`
    const ends = as_of.get(topic) ?? []
    const own = schema === 'internal' ? internalRows(table, as_of) : undefined
    const replaced = schema === 'internal' && keeps ? ' REPLACE (false AS kept)' : ''
    const shown = own ?? (logged ? below(ends, 'log_partition', 'log_offset') : 'true')
    const place = qualified(schema, table)
    const source =
      topic === 'internal.positions'
        ? positionsSql(as_of)
        : `SELECT *${replaced} FROM ${quoted(database)}.${place} WHERE ${shown}`
    await connection.run(`CREATE VIEW ${name}.${place} AS ${source}`)
  }
  await connection.run(`USE ${name}`)
  for (const statement of statements) await connection.run(statement)
}

/** A misspelt name would leave its table empty, and the answer would look valid. */
function refuseUnknown(topic: string, topics: readonly string[]): void {
  if (topics.includes(topic)) return
  throw new SqlRefusedError(
    `as of: no topic is called ${topic}; there are ${topics.join(', ')}; plumbline lag --json prints the offsets of each`,
  )
}

function refuseFuture(topic: string, ends: readonly number[], loaded: ReadonlyMap<string, number>): void {
  for (const [partition, end] of ends.entries()) {
    const next = loaded.get(`${topic}/${partition}`) ?? 0
    if (end > next) {
      throw new SqlRefusedError(
        `${topic} partition ${partition} is loaded up to offset ${next}, and the answer as of ${end} was asked for; run: plumbline run --until-idle`,
      )
    }
  }
}

function below(ends: readonly number[], partition: string, offset: string): string {
  const terms = ends.flatMap((end, at) => (end > 0 ? [`(${partition} = ${at} AND ${offset} < ${end})`] : []))
  return terms.length === 0 ? 'false' : `(${terms.join(' OR ')})`
}

function positionsSql(as_of: ReadonlyMap<string, readonly number[]>): string {
  const rows = [...as_of].flatMap(([topic, ends]) => ends.map((end, at) => `(${literal(topic)}, ${at}, ${end})`))
  const empty = 'SELECT NULL::VARCHAR AS topic, NULL::INTEGER AS "partition", NULL::BIGINT AS next WHERE false'
  return rows.length === 0
    ? empty
    : `SELECT topic::VARCHAR AS topic, "partition"::INTEGER AS "partition", next::BIGINT AS next FROM (VALUES ${rows.join(', ')}) AS known(topic, "partition", next)`
}
