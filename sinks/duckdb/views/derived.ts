import { sourceOf } from '../../../infra/ce-source.ts'
import { literal } from '../../../schemas/derive/sql-quoting.ts'

/** Which processor derives each event of rollouts that views count. An origin tells it of its own events. */
export const DERIVED_BY = {
  'rollout.group_formed': 'form-groups',
  'rollout.group_expired': 'form-groups',
  'rollout.completion_rejected': 'form-groups',
} as const

/*
 * Views are composed of table expressions, not of CTEs: DuckDB materialises a CTE that is used more than once, with all
 * its columns, needed or not, and drops NOT MATERIALIZED when it stores a view. Joins include the group, though event
 * and row would suffice: so a query for one group reads only that group of every table.
 */

/** As `derivedBy`, for the events of rollouts. */
export function derived(type: keyof typeof DERIVED_BY, groups?: Groups): string {
  return derivedBy(DERIVED_BY[type], type, groups)
}

/**
 * A derived event's rows, as a table expression: only those of its own processor. Other rows of its topic were written
 * by another program. They stay visible in the event's own table and are in no view.
 */
export function derivedBy(processor: string, type: string, groups?: Groups): string {
  return `(FROM ${ofGroups(type, groups)} WHERE ce_source = ${literal(sourceOf(processor))})`
}

/** A table expression with the column `group_id`; undefined: every group. */
export type Groups = string | undefined

/** The rows of some groups, as a table expression. */
export function ofGroups(table: string, groups: Groups): string {
  return groups === undefined
    ? table
    : `(FROM ${table} AS every SEMI JOIN ${groups} AS chosen ON chosen.group_id = every.group_id)`
}

/**
 * Completion indices that occur more than once in an event: `group_id`, `ce_id`, `completion_index` and the first row
 * as `kept`, which form-groups uses. Logs of earlier releases hold such events.
 *
 * Where index minus row is constant, no index repeats: that leaves few events to check row by row.
 */
export function repeatedRows(table: string): string {
  return `(
      SELECT batch.group_id, batch.ce_id, batch.completion_index, min(batch."row") AS kept
      FROM ${table} AS batch
      SEMI JOIN (
        SELECT group_id, ce_id FROM ${table} GROUP BY group_id, ce_id
        HAVING min(completion_index - "row") <> max(completion_index - "row")
      ) AS irregular ON irregular.group_id = batch.group_id AND irregular.ce_id = batch.ce_id
      GROUP BY batch.group_id, batch.ce_id, batch.completion_index
      HAVING count(*) > 1
    )`
}
