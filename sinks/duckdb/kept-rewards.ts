import type { DuckDBConnection } from '@duckdb/node-api'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { completionsRescored } from '../../schemas/events/reward.ts'
import { groupFormed, rolloutRequested } from '../../schemas/events/rollout.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { rewardsOf } from './views/rewards.ts'

/**
 * `rewards` joins five tables, and DuckDB performs the joins for every query, even if it needs none of their columns.
 * So the rows of idle groups are stored in one table, and the view joins only the events of the other groups:
 *
 * - `internal.rewarded_groups` has every group, and whether its rows are stored;
 * - `internal.kept_rewards` has those rows, exactly as `rewardsOf` computes them from the events.
 *
 * An event of a group is committed together with the removal of its stored rows, so a query never reads a stored row
 * that an event has made stale.
 */

/** Events that `rewards` reads; the key of each is the group. */
export const REWARD_EVENTS: ReadonlySet<string> = new Set(
  [rolloutRequested, completionsSampled, completionsScored, completionsRescored, groupFormed].map(({ type }) => type),
)

/** Temporary table of the connection. */
export const CHANGED_GROUPS = 'CREATE TEMP TABLE IF NOT EXISTS changed_groups (group_id VARCHAR)'

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
export async function restartKeptRewards(connection: DuckDBConnection): Promise<void> {
  await connection.run(`
    CREATE OR REPLACE TABLE internal.rewarded_groups (group_id VARCHAR PRIMARY KEY, kept BOOLEAN NOT NULL);
    COMMENT ON TABLE internal.rewarded_groups IS 'Groups, and whether their rows of the view rewards are kept';
    INSERT INTO internal.rewarded_groups SELECT DISTINCT group_id, false FROM tower.completions_scored;
    CREATE OR REPLACE TABLE internal.kept_rewards AS ${rewardsOf('internal.rewarded_groups')} WITH NO DATA;
    COMMENT ON TABLE internal.kept_rewards IS 'Rows of the view rewards, of groups that rest';
  `)
}

/** Drops the stored rows of groups whose events are being loaded. In the caller's transaction. */
export async function changeGroups(connection: DuckDBConnection, groups: ReadonlySet<string>): Promise<void> {
  if (groups.size === 0) return
  const appender = await connection.createAppender('changed_groups', 'main', 'temp')
  for (const group of groups) {
    appender.appendVarchar(group)
    appender.endRow()
  }
  appender.closeSync()
  const kept = await connection.runAndReadAll(`
    SELECT count(*)::INTEGER FROM internal.rewarded_groups SEMI JOIN changed_groups USING (group_id) WHERE kept`)
  if (kept.getRows()[0]?.[0] !== 0) {
    const changed = 'group_id IN (SELECT group_id FROM changed_groups)'
    await connection.run(`DELETE FROM internal.kept_rewards WHERE ${changed}`)
    await connection.run(`UPDATE internal.rewarded_groups SET kept = false WHERE kept AND ${changed}`)
  }
  await connection.run('INSERT OR IGNORE INTO internal.rewarded_groups SELECT group_id, false FROM changed_groups')
  await connection.run('DELETE FROM changed_groups')
}

/** Stores the rows of idle groups, when enough of them wait. */
export class KeptRewards {
  readonly #connection: DuckDBConnection
  readonly #few: number
  #due_ms = 0

  constructor(connection: DuckDBConnection, few = FEW_GROUPS) {
    this.#connection = connection
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
      SELECT count(*) FILTER (NOT kept)::INTEGER, count(*) FILTER (kept)::INTEGER FROM internal.rewarded_groups`)
    const [waiting, kept] = found.getRows()[0] as [number, number]
    return { waiting, kept }
  }

  async #keepSome(groups: number): Promise<void> {
    const connection = this.#connection
    await connection.run(`
      CREATE OR REPLACE TEMP TABLE keeping AS
      SELECT group_id FROM internal.rewarded_groups WHERE NOT kept LIMIT ${groups}`)
    await connection.run('BEGIN')
    try {
      await connection.run(`INSERT INTO internal.kept_rewards ${rewardsOf('keeping')}`)
      await connection.run('UPDATE internal.rewarded_groups SET kept = true WHERE group_id IN (FROM keeping)')
      await connection.run('COMMIT')
    } catch (cause) {
      await connection.run('ROLLBACK').catch(() => {})
      throw cause
    }
  }
}
