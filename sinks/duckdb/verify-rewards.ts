import { rewards, rewardsOf } from './views/rewards.ts'

/** Least number of groups per comparison; more with many groups, so that the tables are read at most eight times. */
const LEAST_GROUPS = 16_384
const MOST_STEPS = 8

/** How many comparisons it takes for so many groups. */
export const stepsOf = (groups: number) => Math.min(MOST_STEPS, Math.max(1, Math.ceil(groups / LEAST_GROUPS)))

/**
 * Every group that has rows in the view `rewards`, or should have.
 * @param step undefined: of all steps
 */
export function rewardedGroups(step?: { readonly at: number; readonly of: number }): string {
  const every = ['tower.completions_scored', 'internal.kept_rewards', 'internal.rewarded_groups']
  const groups = every.map((table) => `SELECT group_id FROM ${table}`).join(' UNION ')
  return step === undefined
    ? `(${groups})`
    : `(SELECT group_id FROM (${groups}) WHERE hash(group_id) % ${step.of} = ${step.at})`
}

/**
 * A SELECT of the groups whose rows in the view, stored ones included, differ from those computed from the events:
 * `group_id`, and the number of differing rows in the view and from the events. Advantages of rescored rewards are sums
 * of floats, whose last digits depend on the order in which DuckDB adds them: equal means 1e-9 of their size
 * (inferred).
 */
export function differingRewards(step: { readonly at: number; readonly of: number }): string {
  const groups = rewardedGroups(step)
  const columns = Object.keys(rewards.columns).filter((name) => name !== 'advantage')
  const summed = (rows: string) => `(
    SELECT group_id, hash(${columns.map((name) => `"${name}"`).join(', ')}) AS row_hash, count(*) AS n,
      count(advantage) AS advantages, coalesce(sum(advantage), 0) AS total, coalesce(sum(abs(advantage)), 0) AS size
    FROM ${rows} GROUP BY group_id, row_hash)`
  return `
    SELECT group_id, sum(coalesce(shown.n, 0))::INTEGER, sum(coalesce(made.n, 0))::INTEGER
    FROM ${summed(`(FROM rewards AS every SEMI JOIN ${groups} AS chosen ON chosen.group_id = every.group_id)`)} AS shown
    FULL JOIN ${summed(`(${rewardsOf(groups)})`)} AS made USING (group_id, row_hash)
    WHERE shown.n IS DISTINCT FROM made.n OR shown.advantages <> made.advantages
      OR abs(shown.total - made.total) > 1e-9 * greatest(1, made.size)
    GROUP BY group_id ORDER BY group_id`
}
