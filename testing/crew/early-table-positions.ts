import { encodeSeen } from '../../infra/log/port/seen.ts'
import type { Batch } from '../../sinks/duckdb/duckdb-batch.ts'

type Commit = Batch['commit']

/**
 * The bug that the tests must catch: the positions of the tables are committed in a transaction of their own, before
 * the rows. A process that is killed between the two never loads those rows.
 */
export function withEarlyTablePositions(commit: Commit): Commit {
  return async function (this: Batch, connection, careful, observe) {
    for (const { topic, partition, next, seen } of this.positions) {
      await connection.run('INSERT OR REPLACE INTO internal.positions VALUES ($1, $2, $3, $4)', [
        ...[topic, partition, next],
        seen === undefined ? null : encodeSeen(seen),
      ])
    }
    await observe?.('appended')
    return await commit.call(this, connection, careful, observe)
  }
}
