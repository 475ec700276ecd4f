import type { DuckDBConnection } from '@duckdb/node-api'
import type { UnreadableList } from '../rereading.ts'
import type { Place, UnreadableCounts, UnreadableRecord } from '../unreadable-record.ts'

/** `internal.unreadable`: the records that are in no table. */
export class UnreadableTable implements UnreadableList {
  readonly #connection: DuckDBConnection
  #counts: UnreadableCounts = {}

  constructor(connection: DuckDBConnection) {
    this.#connection = connection
  }

  counts(): UnreadableCounts {
    return this.#counts
  }

  /** Call after each commit that changes the table. */
  async count(): Promise<void> {
    const found = await this.#connection.runAndReadAll(
      'SELECT topic, count(*)::INTEGER FROM internal.unreadable GROUP BY topic ORDER BY topic',
    )
    this.#counts = Object.fromEntries(found.getRows() as [string, number][])
  }

  async list(after: Place | undefined, most: number): Promise<readonly UnreadableRecord[]> {
    const [where, values] =
      after === undefined
        ? ['true', []]
        : ['(topic, "partition", "offset") > ($1, $2, $3)', [after.topic, after.partition, after.offset]]
    const found = await this.#connection.runAndReadAll(
      `SELECT topic, "partition", "offset", ce_id, error FROM internal.unreadable WHERE ${where}
       ORDER BY topic, "partition", "offset" LIMIT ${most}`,
      values,
    )
    const rows = found.getRows() as [string, number, bigint, string | null, string][]
    return rows.map(([topic, partition, offset, ce_id, error]) => ({ topic, partition, offset, ce_id, error }))
  }
}
