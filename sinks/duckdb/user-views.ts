import { createHash } from 'node:crypto'
import type { DuckDBConnection } from '@duckdb/node-api'
import { literal, places, quoted } from '../../schemas/derive/sql-quoting.ts'
import { restartKeptRows } from './kept-rows.ts'
import type { View } from './views/view.ts'

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

const withDocs = (views: readonly View[]): readonly View[] => [...views, docs]

const fingerprintOf = (views: readonly View[]) =>
  createHash('sha256')
    .update(JSON.stringify(withDocs(views).map(statementsOf)))
    .digest('hex')

/**
 * Whether a file has these views, as they are now.
 * @param made `internal.meta`
 */
export const areViewsOfNow = (made: ReadonlyMap<string, string>, views: readonly View[]): boolean =>
  made.get('views') === fingerprintOf(views)

/**
 * Recreates the views when their text has changed, or a table below them has (`force`): a view stores the types of its
 * columns. Call it inside a transaction, when the tables below them exist. Views of another program stay as they are.
 */
export async function createViews(
  connection: DuckDBConnection,
  views: readonly View[],
  { force }: { readonly force: boolean },
): Promise<void> {
  const fingerprint = fingerprintOf(views)
  const known = await connection.runAndReadAll("SELECT value FROM internal.meta WHERE name = 'views'")
  if (!force && known.getRows()[0]?.[0] === fingerprint) return
  await restartKeptRows(connection, views)
  const rows: [name: string, place: number, statements: string][] = []
  for (const [place, view] of withDocs(views).entries()) {
    const statements = statementsOf(view)
    await connection.run(statements.join(';\n'))
    rows.push([view.name, place, JSON.stringify(statements)])
  }
  await connection.run(`INSERT OR REPLACE INTO internal.views VALUES ${places(rows)}`, rows.flat())
  await connection.run("INSERT OR REPLACE INTO internal.meta VALUES ('views', $1)", [fingerprint])
}

/**
 * Statements that make every view of this file over the tables of the current database; undefined for a file of an
 * earlier release. A process that only answers queries knows no domain, so it reads them from the file.
 */
export async function viewStatementsIn(connection: DuckDBConnection): Promise<readonly string[] | undefined> {
  const found = await connection.runAndReadAll(`
    SELECT count(*)::INTEGER FROM duckdb_tables()
    WHERE database_name = current_database() AND schema_name = 'internal' AND table_name = 'views'`)
  if (found.getRows()[0]?.[0] !== 1) return undefined
  const views = await connection.runAndReadAll('SELECT statements FROM internal.views ORDER BY place, name')
  const statements = views.getRows().flatMap(([text]) => JSON.parse(text as string) as string[])
  return statements.length === 0 ? undefined : statements
}
