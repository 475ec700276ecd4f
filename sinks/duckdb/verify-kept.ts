import type { KeptView } from './kept-rows.ts'

/** Least number of groups per comparison; more with many groups, so that the tables are read at most eight times. */
const LEAST_GROUPS = 16_384
const MOST_STEPS = 8

/** How many comparisons it takes for so many groups. */
export const stepsOf = (groups: number) => Math.min(MOST_STEPS, Math.max(1, Math.ceil(groups / LEAST_GROUPS)))

/**
 * Every group that has rows in the view, or should have.
 * @param step undefined: of all steps
 */
export function groupsOf({ kept }: KeptView, step?: { readonly at: number; readonly of: number }): string {
  const every = [...kept.rows_from.map(({ type }) => type), kept.rows_table, kept.keys_table]
  const groups = every.map((table) => `SELECT group_id FROM ${table}`).join(' UNION ')
  return step === undefined
    ? `(${groups})`
    : `(SELECT group_id FROM (${groups}) WHERE hash(group_id) % ${step.of} = ${step.at})`
}

/**
 * A SELECT of the groups whose rows in the view, stored ones included, differ from those computed from the events:
 * `group_id`, and the number of differing rows in the view and from the events. The last digits of a sum of floats depend
 * on the order in which DuckDB adds them: equal means 1e-9 of their size (inferred).
 */
export function differingRows(view: KeptView, step: { readonly at: number; readonly of: number }): string {
  const groups = groupsOf(view, step)
  const { summed, rowsOf } = view.kept
  const columns = Object.keys(view.columns).filter((name) => !summed.includes(name))
  const sums = summed.map(
    (name, at) =>
      `count("${name}") AS count_${at}, coalesce(sum("${name}"), 0) AS total_${at}, coalesce(sum(abs("${name}")), 0) AS size_${at}`,
  )
  const differs = summed.map(
    (_name, at) =>
      `OR shown.count_${at} <> made.count_${at} OR abs(shown.total_${at} - made.total_${at}) > 1e-9 * greatest(1, made.size_${at})`,
  )
  const counted = (rows: string) => `(
    SELECT group_id, hash(${columns.map((name) => `"${name}"`).join(', ')}) AS row_hash,
      ${['count(*) AS n', ...sums].join(', ')}
    FROM ${rows} GROUP BY group_id, row_hash)`
  return `
    SELECT group_id, sum(coalesce(shown.n, 0))::INTEGER, sum(coalesce(made.n, 0))::INTEGER
    FROM ${counted(`(FROM ${view.name} AS every SEMI JOIN ${groups} AS chosen ON chosen.group_id = every.group_id)`)} AS shown
    FULL JOIN ${counted(`(${rowsOf(groups)})`)} AS made USING (group_id, row_hash)
    WHERE shown.n IS DISTINCT FROM made.n ${differs.join(' ')}
    GROUP BY group_id ORDER BY group_id`
}
