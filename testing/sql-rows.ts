import { openSql, type SqlClientOptions } from '../sinks/duckdb/sql-client.ts'
import type { Plain } from '../sinks/duckdb/sql-result.ts'

/** All rows of one query, in a separate session. */
export async function sqlRows(options: SqlClientOptions, sql: string): Promise<Plain[][]> {
  const session = await openSql(options)
  try {
    const rows: Plain[][] = []
    for await (const batch of (await session.query(sql)).batches) rows.push(...batch)
    return rows
  } finally {
    await session.close()
  }
}
