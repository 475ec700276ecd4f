import type { DuckDBConnection } from '@duckdb/node-api'
import type { Event } from '../../schemas/declare/event.ts'
import type { Kept, View } from './views/view.ts'

/**
 * Some views join many tables: `rewards` five. DuckDB performs the joins for every query, even if it needs none of their
 * columns. So the rows of idle keys are stored in one table, and such a view joins only the events of the other keys:
 *
 * - `keys_table` has every key, and whether its rows are stored;
 * - `rows_table` has those rows, exactly as `rowsOf` computes them from the events.
 *
 * An event of a key is committed together with the removal of its stored rows, so a query never reads a stored row that
 * an event has made stale.
 */

/** A view whose rows are stored. */
export type KeptView = View & { readonly kept: Kept }

export const keptOf = (views: readonly View[]): readonly KeptView[] =>
  views.filter((view): view is KeptView => view.kept !== undefined)

/** Temporary table of the connection. */
export const CHANGED_GROUPS = 'CREATE TEMP TABLE IF NOT EXISTS changed_groups (group_id VARCHAR)'

/** Keys whose rows change, for each view. */
export class ChangedKeys {
  readonly #views: readonly { readonly types: ReadonlySet<string>; readonly kept: Kept; readonly keys: Set<string> }[]

  constructor(views: readonly KeptView[]) {
    this.#views = views.map(({ kept }) => {
      return { types: new Set(kept.events.map(({ type }) => type)), kept, keys: new Set() }
    })
  }

  add({ type, key }: Event): void {
    for (const { types, keys } of this.#views) if (types.has(type)) keys.add(key)
  }

  /** Drops the stored rows of these keys, whose events are being loaded. In the caller's transaction. */
  async drop(connection: DuckDBConnection): Promise<void> {
    for (const { kept, keys } of this.#views) await dropRows(connection, kept, keys)
  }
}

/** Joining fewer groups than this is faster than storing them. */
export const FEW_GROUPS = 512
/** While records keep arriving, groups wait until there are this many per stored group. */
const WAITING_SHARE = 1 / 16
/** While no records arrive, at most this share of the time goes into storing groups. */
const RESTING_SHARE = 1 / 20
/** Least number of groups per transaction; more with many groups, so that the tables are read at most eight times. */
const STEP_GROUPS = 16_384
const STEPS = 8

/**
 * Recreates both tables for the current event tables, with no rows stored. In the caller's transaction, before the
 * views.
 */
export async function restartKeptRows(connection: DuckDBConnection, views: readonly View[]): Promise<void> {
  for (const { name, kept } of keptOf(views)) {
    const { keys_table, rows_table, rows_from, rowsOf } = kept
    const keys = rows_from.map(({ type }) => `SELECT group_id FROM ${type}`).join(' UNION ALL ')
    await connection.run(`
      CREATE OR REPLACE TABLE ${keys_table} (group_id VARCHAR PRIMARY KEY, kept BOOLEAN NOT NULL);
      COMMENT ON TABLE ${keys_table} IS 'Groups, and whether their rows of the view ${name} are kept';
      INSERT INTO ${keys_table} SELECT DISTINCT group_id, false FROM (${keys});
      CREATE OR REPLACE TABLE ${rows_table} AS ${rowsOf(keys_table)} WITH NO DATA;
      COMMENT ON TABLE ${rows_table} IS 'Rows of the view ${name}, of groups that rest';
    `)
  }
}

async function dropRows(connection: DuckDBConnection, kept: Kept, groups: ReadonlySet<string>): Promise<void> {
  if (groups.size === 0) return
  const { keys_table, rows_table } = kept
  const appender = await connection.createAppender('changed_groups', 'main', 'temp')
  for (const group of groups) {
    appender.appendVarchar(group)
    appender.endRow()
  }
  appender.closeSync()
  const stored = await connection.runAndReadAll(`
    SELECT count(*)::INTEGER FROM ${keys_table} SEMI JOIN changed_groups USING (group_id) WHERE kept`)
  if (stored.getRows()[0]?.[0] !== 0) {
    const changed = 'group_id IN (SELECT group_id FROM changed_groups)'
    await connection.run(`DELETE FROM ${rows_table} WHERE ${changed}`)
    await connection.run(`UPDATE ${keys_table} SET kept = false WHERE kept AND ${changed}`)
  }
  await connection.run(`INSERT OR IGNORE INTO ${keys_table} SELECT group_id, false FROM changed_groups`)
  await connection.run('DELETE FROM changed_groups')
}

/** Stores the rows of idle groups of one view, when enough of them wait. */
export class KeptRows {
  readonly #connection: DuckDBConnection
  readonly #kept: Kept
  readonly #few: number
  #due_ms = 0

  constructor(connection: DuckDBConnection, { kept }: KeptView, few = FEW_GROUPS) {
    this.#connection = connection
    this.#kept = kept
    this.#few = few
  }

  /**
   * Call it between transactions, when the whole log has been loaded.
   * @param resting whether no new records are expected soon
   */
  async keep(resting: boolean, signal?: AbortSignal): Promise<void> {
    const started_ms = performance.now()
    if (resting && started_ms < this.#due_ms) return
    const { waiting, kept } = await this.#counts()
    const enough = resting && kept > 0 ? 1 : Math.max(this.#few, resting ? 0 : kept * WAITING_SHARE)
    if (waiting < enough) return
    const step = Math.max(STEP_GROUPS, Math.ceil(waiting / STEPS))
    for (let left = waiting; left > 0 && !signal?.aborted; left -= step) await this.#keepSome(step)
    this.#due_ms = performance.now() + (performance.now() - started_ms) / RESTING_SHARE
  }

  async #counts(): Promise<{ readonly waiting: number; readonly kept: number }> {
    const found = await this.#connection.runAndReadAll(`
      SELECT count(*) FILTER (NOT kept)::INTEGER, count(*) FILTER (kept)::INTEGER FROM ${this.#kept.keys_table}`)
    const [waiting, kept] = found.getRows()[0] as [number, number]
    return { waiting, kept }
  }

  async #keepSome(groups: number): Promise<void> {
    const connection = this.#connection
    const { keys_table, rows_table, rowsOf } = this.#kept
    await connection.run(`
      CREATE OR REPLACE TEMP TABLE keeping AS
      SELECT group_id FROM ${keys_table} WHERE NOT kept LIMIT ${groups}`)
    await connection.run('BEGIN')
    try {
      await connection.run(`INSERT INTO ${rows_table} ${rowsOf('keeping')}`)
      await connection.run(`UPDATE ${keys_table} SET kept = true WHERE group_id IN (FROM keeping)`)
      await connection.run('COMMIT')
    } catch (cause) {
      await connection.run('ROLLBACK').catch(() => {})
      throw cause
    }
  }
}
