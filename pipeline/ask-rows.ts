import { openSql, type SqlSession } from '../sinks/duckdb/sql-client.ts'
import type { Plain } from '../sinks/duckdb/sql-result.ts'

export type Row = Readonly<Record<string, Plain>>
/** Streams the rows of one statement. */
export type Ask = (sql: string) => AsyncIterable<Row>

/** Streams the rows of a result. 64-bit counts are strings of digits; `Number` parses them. */
export async function* askRows(file: string, sql: string, time_limit_s = 600): AsyncGenerator<Row> {
  const session = await openSql({ file, time_limit_ms: time_limit_s * 1_000 })
  try {
    yield* rowsIn(session, sql)
  } finally {
    await session.close()
  }
}

/** Asks several questions of one session: without a run, a session is a process that opens the file. */
export async function askMany<T>(file: string, work: (ask: Ask) => Promise<T>, time_limit_s = 600): Promise<T> {
  const session = await openSql({ file, time_limit_ms: time_limit_s * 1_000 })
  try {
    return await work((sql) => rowsIn(session, sql))
  } finally {
    await session.close()
  }
}

async function* rowsIn(session: SqlSession, sql: string): AsyncGenerator<Row> {
  const { columns, batches } = await session.query(sql)
  for await (const rows of batches) {
    for (const row of rows) yield Object.fromEntries(columns.map(({ name }, at) => [name, row[at] ?? null]))
  }
}
