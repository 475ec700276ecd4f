import { createHash } from 'node:crypto'
import type { DuckDBConnection } from '@duckdb/node-api'
import { literal, quoted } from '../../schemas/derive/sql-quoting.ts'
import { restartKeptRewards } from './kept-rewards.ts'
import { advantages } from './views/advantages.ts'
import { completionFates, funnel, funnelCheck } from './views/funnel.ts'
import { groups } from './views/groups.ts'
import { rewardAgreement, rewardComparison } from './views/reward-comparison.ts'
import { rewardGroups } from './views/reward-groups.ts'
import { rewards } from './views/rewards.ts'
import type { View } from './views/view.ts'

/** The views for users, in an order in which each may build on those before it. */
export const userViews: readonly View[] = [
  advantages,
  rewards,
  groups,
  rewardGroups,
  rewardComparison,
  rewardAgreement,
  completionFates,
  funnel,
  funnelCheck,
]

/** The documentation as a table, so that it can be queried like everything else. */
const docs: View = {
  name: 'docs',
  about: 'Every table and view, column by column.',
  columns: {
    name: 'table or view',
    kind: 'view or table',
    column: 'null in the row about the whole',
    type: 'in DuckDB',
    about: 'what it means',
  },
  sql: `
    WITH place AS (
      SELECT column_name, comment, data_type, column_index, table_oid,
        CASE WHEN schema_name = 'main' THEN table_name ELSE schema_name || '.' || table_name END AS name,
        CASE WHEN schema_name = 'main' THEN 'view' ELSE 'table' END AS kind
      FROM duckdb_columns()
      WHERE NOT internal AND database_name = current_database()
    ),
    whole AS (
      SELECT view_name AS name, 'view' AS kind, comment FROM duckdb_views() WHERE NOT internal AND database_name = current_database()
      UNION ALL
      SELECT schema_name || '.' || table_name, 'table', comment FROM duckdb_tables() WHERE database_name = current_database()
    )
    SELECT name, kind, "column", type, about
    FROM (
      SELECT name, kind, NULL AS "column", NULL AS type, comment AS about, 0 AS place FROM whole
      UNION ALL
      SELECT name, kind, column_name, data_type, comment, column_index FROM place
    )
    ORDER BY kind DESC, name, place`,
}

function statementsOf(view: View): string[] {
  return [
    `CREATE OR REPLACE VIEW ${view.name} AS ${view.sql}`,
    `COMMENT ON VIEW ${view.name} IS ${literal(view.about)}`,
    ...Object.entries(view.columns).map(
      ([column, about]) => `COMMENT ON COLUMN ${view.name}.${quoted(column)} IS ${literal(about)}`,
    ),
  ]
}

/** Statements that make every view, over the tables of the current database. */
export const viewStatements: readonly string[] = [...userViews, docs].flatMap(statementsOf)
const FINGERPRINT = createHash('sha256').update(viewStatements.join(';')).digest('hex')

/** @param made `internal.meta` */
export const areViewsOfNow = (made: ReadonlyMap<string, string>): boolean => made.get('views') === FINGERPRINT

/**
 * Recreates the views when their text has changed, or a table below them has (`force`): a view stores the types of its
 * columns. Call it inside a transaction.
 */
export async function createViews(connection: DuckDBConnection, force: boolean): Promise<void> {
  const known = await connection.runAndReadAll("SELECT value FROM internal.meta WHERE name = 'views'")
  if (!force && known.getRows()[0]?.[0] === FINGERPRINT) return
  await restartKeptRewards(connection)
  for (const statement of viewStatements) await connection.run(statement)
  await connection.run("INSERT OR REPLACE INTO internal.meta VALUES ('views', $1)", [FINGERPRINT])
}
