import { openSql } from '../sinks/duckdb/sql-client.ts'
import type { Plain } from '../sinks/duckdb/sql-result.ts'

export type Row = Readonly<Record<string, Plain>>

/** Streams the rows of a result. 64-bit counts are strings of digits; `Number` parses them. */
export async function* askRows(file: string, sql: string, time_limit_s = 600): AsyncGenerator<Row> {
  const session = await openSql({ file, time_limit_ms: time_limit_s * 1_000 })
  try {
    const { columns, batches } = await session.query(sql)
    for await (const rows of batches) {
      for (const row of rows) yield Object.fromEntries(columns.map(({ name }, at) => [name, row[at] ?? null]))
    }
  } finally {
    await session.close()
  }
}
