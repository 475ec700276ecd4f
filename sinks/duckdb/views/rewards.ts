import { duckdbTypeOf } from '../../../schemas/derive/duckdb-table.ts'
import type { Origin, RescoredOrigin } from '../../../schemas/events/origin.ts'
import { completionsSampled } from '../../../schemas/events/policy.ts'
import { groupFormed, rolloutRequested } from '../../../schemas/events/rollout.ts'
import { rescoredAdvantages, rescoredAmong, rescoredEvents } from './advantages.ts'
import { derived, derivedBy, type Groups, ofGroups, repeatedRows } from './derived.ts'
import type { View } from './view.ts'

/** The request of each group, as a table expression like the others here. */
export const askedOf = (groups?: Groups): string => `(
      SELECT group_id, any_value(start."value"->>'$.dataset') AS dataset, any_value(start."value"->>'$.split') AS split,
        any_value(purpose) AS purpose, any_value(task) AS task
      FROM ${ofGroups('rollout.requested', groups)}
      GROUP BY group_id
    )`

/** Columns that a scored event has in some worlds, by name and type; null in others. */
const OF_WORLDS = {
  scene_id: 'VARCHAR',
  task: 'VARCHAR',
  answer: 'VARCHAR',
  dx: 'INTEGER',
  dy: 'INTEGER',
  distance_world: 'DOUBLE',
} as const

function hasColumn({ scored }: Origin, name: keyof typeof OF_WORLDS): boolean {
  const field = scored.row[name]
  return field !== undefined && duckdbTypeOf(field) === OF_WORLDS[name]
}

/**
 * The scored completions of an origin. `placed_id` is `sampled_id`, or null in a row that repeats an index of its event:
 * form-groups uses only the first such row.
 */
export function liveOf(origin: Origin, groups?: Groups): string {
  const scored = derivedBy(origin.scored_by, origin.scored.type, groups)
  const of_world = (Object.keys(OF_WORLDS) as (keyof typeof OF_WORLDS)[]).map((name) =>
    hasColumn(origin, name) ? `scored.${name}` : `NULL::${OF_WORLDS[name]} AS ${name}`,
  )
  return `(
      SELECT
        scored.ce_id, scored."row", scored.ce_time, scored.group_id, scored.completion_index, scored.sampled_id,
        scored.outcome, scored.reward, scored.reward_name, ${of_world.join(', ')},
        CASE WHEN repeated.kept IS NULL OR repeated.kept = scored."row" THEN scored.sampled_id END AS placed_id
      FROM ${scored} AS scored
      LEFT JOIN ${repeatedRows(scored)} AS repeated
        ON repeated.group_id = scored.group_id
        AND repeated.ce_id = scored.ce_id
        AND repeated.completion_index = scored.completion_index
    )`
}

/**
 * The same under every reward of `rescore`. An event derived from a batch has one row per row of the batch, in the same
 * order. Joined by row, an index that is in an event twice mixes nothing.
 */
export const rescoredOf = (origin: RescoredOrigin, groups?: Groups): string => `(
      SELECT live.* REPLACE (again.reward AS reward, again.reward_name AS reward_name), again.dialect
      FROM ${rescoredEvents([origin], groups)} AS again
      JOIN ${liveOf(origin, groups)} AS live
        ON live.group_id = again.group_id
        AND live.ce_id = again.scored_id
        AND live."row" = again."row"
        AND live.completion_index = again.completion_index
    )`

/** The rows of several table expressions of the same columns. */
const all = ([first = '', ...others]: readonly string[]): string =>
  others.length === 0 ? first : `(FROM ${[first, ...others].join(' UNION ALL BY NAME FROM ')})`

/** A SELECT of the rows of `rewards` for some groups, computed from the events. */
export function rewardsOf(origins: readonly Origin[], groups?: Groups): string {
  const formed = derived('rollout.group_formed', groups)
  const live = all(origins.map((origin) => liveOf(origin, groups)))
  const with_others = rescoredAmong(origins)
  // A world whose scores name no task has it in its requests alone.
  const task = origins.every((origin) => hasColumn(origin, 'task'))
    ? 'earned.task'
    : 'coalesce(earned.task, asked.task)'
  const again =
    with_others.length === 0
      ? ''
      : `
      UNION ALL BY NAME
      SELECT rescored.* EXCLUDE (dialect), again.chosen AS advantage, again.chosen_dialect AS dialect
      FROM ${all(with_others.map((origin) => rescoredOf(origin, groups)))} AS rescored
      LEFT JOIN (${rescoredAdvantages({ formed, rescored: rescoredEvents(with_others, groups) })}) AS again
        ON again.group_id = rescored.group_id
        AND again.sampled_id = rescored.placed_id
        AND again.completion_index = rescored.completion_index
        AND again.reward_name = rescored.reward_name
        AND again.chosen_dialect = rescored.dialect`
  return `
    SELECT
      earned.scene_id,
      earned.group_id,
      earned.completion_index,
      asked.dataset,
      ${task} AS task,
      asked.split,
      sampled.policy,
      list_max(sampled.token_policy_version) AS model_version,
      asked.purpose,
      earned.answer,
      earned.outcome,
      earned.dx,
      earned.dy,
      earned.distance_world,
      earned.reward,
      earned.reward_name,
      earned.advantage,
      earned.dialect,
      sampled.text,
      earned.ce_time
    FROM (
      SELECT live.*, formed.advantage, formed.dialect
      FROM ${live} AS live
      LEFT JOIN ${formed} AS formed
        ON formed.group_id = live.group_id
        AND formed.sampled_id = live.placed_id
        AND formed.completion_index = live.completion_index
        AND formed.reward_name = live.reward_name${again}
    ) AS earned
    LEFT JOIN ${askedOf(groups)} AS asked ON asked.group_id = earned.group_id
    LEFT JOIN ${ofGroups('policy.completions_sampled', groups)} AS sampled
      ON sampled.group_id = earned.group_id
      AND sampled.ce_id = earned.sampled_id
      AND sampled."row" = earned."row"
      AND sampled.completion_index = earned.completion_index`
}

/** @param origins at least one */
export function rewards(origins: readonly Origin[]): View {
  const scored = origins.map((origin) => origin.scored)
  const rescored = rescoredAmong(origins).map((origin) => origin.rescored.event)
  const waiting = '(SELECT group_id FROM internal.rewarded_groups WHERE NOT kept)'
  return {
    ...REWARDS,
    // The rows that `kept-rows.ts` stores, and the rest from the events: DuckDB joins for every query, whatever it needs.
    sql: `
    FROM internal.kept_rewards
    UNION ALL
    FROM (${rewardsOf(origins, waiting)})`,
    kept: {
      keys_table: 'internal.rewarded_groups',
      rows_table: 'internal.kept_rewards',
      events: [rolloutRequested, completionsSampled, ...scored, ...rescored, groupFormed],
      rows_from: scored,
      rowsOf: (groups) => rewardsOf(origins, groups),
      // Advantages of rescored rewards.
      summed: ['advantage'],
    },
  }
}

const REWARDS: Omit<View, 'sql' | 'kept'> = {
  name: 'rewards',
  about: 'One row per scored completion, reward function and advantage dialect: what was asked, answered and earned.',
  columns: {
    scene_id: 'the tower that was shown; null in other worlds',
    group_id: 'the completions of one prompt share it',
    completion_index: '0 … group_size − 1',
    dataset: 'top_block or side_block, paper 1 §3.1; null in other worlds',
    task: 'of a tower binary_stability, x_only or x_y, paper 1 §3.2',
    split: 'train, or which held-out band; null in other worlds',
    policy: 'how the policy was asked for',
    model_version: 'newest policy version among the tokens of the completion; null for a scripted policy',
    purpose: 'train, eval or probe',
    answer: 'what stood in the last <answer> pair; null when nothing could be read, and in other worlds',
    outcome: 'what the world did with the answer; null when the scorer itself failed',
    dx: 'answer units, right is positive; null in other worlds',
    dy: 'answer units, up is positive; null in other worlds',
    distance_world: 'd of paper 1 §3.4 at the placed position, world units; null in other worlds',
    reward: 'of the named function: paper 1 §3.4, or one of `rescore`; null when the scorer itself failed',
    reward_name: 'which reward function; name one when averaging, a rescored log has several',
    advantage: 'in the named dialect; null until the group is formed',
    dialect: 'how the advantage was normalised; null until the group is formed',
    text: 'the completion as the policy wrote it',
    ce_time: 'when it was scored, in the time of the events',
  },
}
