import type { Origin, RescoredOrigin } from '../../../schemas/events/origin.ts'
import { DIALECTS } from '../../../schemas/events/rollout.ts'
import { derived, derivedBy, type Groups } from './derived.ts'
import type { View } from './view.ts'

/** Table expressions: the events, or some of them. */
export interface AdvantageEvents {
  readonly formed: string
  readonly rescored: string
}

const FORMED = derived('rollout.group_formed')

/** Those of these origins that have other rewards. */
export const rescoredAmong = (origins: readonly Origin[]): readonly RescoredOrigin[] =>
  origins.filter((origin): origin is RescoredOrigin => origin.rescored !== undefined)

/** The events of other rewards, of at least one origin. */
export function rescoredEvents(origins: readonly RescoredOrigin[], groups?: Groups): string {
  const all = origins.map(({ rescored: { event, by } }) => derivedBy(by, event.type, groups))
  const [first = '', ...others] = all
  if (others.length === 0) return first
  return `(${all.map((one) => `SELECT ${RESCORED_COLUMNS} FROM ${one}`).join(' UNION ALL ')})`
}
const RESCORED_COLUMNS = 'ce_id, "row", group_id, completion_index, sampled_id, scored_id, reward, reward_name, dialect'

/**
 * `group_id`, `reward_name`, `dialect` and the `completions` by index of each formed group; if formed twice, the first
 * by id.
 */
const LIVE_GROUPS = `
      SELECT group_id, reward_name, arg_min(dialect, ce_id) AS dialect, arg_min(completions, ce_id) AS completions
      FROM (
        SELECT group_id, reward_name, ce_id, any_value(dialect) AS dialect,
          list_sort(list({
            completion_index: completion_index, sampled_id: sampled_id, reward: reward, advantage: advantage
          })) AS completions
        FROM ${FORMED}
        GROUP BY group_id, reward_name, ce_id
      )
      GROUP BY group_id, reward_name`

/**
 * The same for each rescored group, over the completions that formed live. An incomplete group is left out: its mean
 * would be wrong.
 */
const rescoredGroups = ({ formed, rescored }: AdvantageEvents) => `
      SELECT again.group_id, again.reward_name, again.dialect, again.completions
      FROM (
        SELECT group_id, reward_name, dialect,
          list_transform(
            list_filter(rows, lambda one, place: place = 1 OR rows[place - 1].completion_index <> one.completion_index),
            lambda one: {
              completion_index: one.completion_index, sampled_id: one.sampled_id, reward: one.reward,
              advantage: NULL::DOUBLE
            }
          ) AS completions
        FROM (
          SELECT again.group_id, again.reward_name, any_value(again.dialect) AS dialect,
            list_sort(list({
              completion_index: again.completion_index, ce_id: again.ce_id, "row": again."row",
              sampled_id: again.sampled_id, reward: again.reward
            })) AS rows
          FROM ${rescored} AS again
          SEMI JOIN ${formed} AS live
            ON live.group_id = again.group_id
            AND live.sampled_id = again.sampled_id
            AND live.completion_index = again.completion_index
          WHERE again.reward IS NOT NULL
          GROUP BY again.group_id, again.reward_name
        )
      ) AS again
      JOIN (SELECT group_id, any_value(group_size) AS group_size FROM ${formed} GROUP BY group_id) AS live
        ON live.group_id = again.group_id AND live.group_size = len(again.completions)`

/**
 * One row per completion of `groups`, with the columns of `advantages` and its ranks. A group's rewards are in one
 * list: windows over the rows take twice as long, mostly for sorting them by texts.
 *
 * The equations of design §10, in SQL. With r the reward, n the group's size, μ and σ its mean and deviation, and μ₋ᵢ
 * and σ₋ᵢ those of the other n − 1:
 *
 *   paper      (r − μ) / σ          ddof 1 (inferred: paper 1 §3.3 does not say); paper_ddof0 with ddof 0
 *   trl        (r − μ) / (σ + 1e-4) ddof 1
 *   trl_async  (r − μ) / (σ + 1e-8) ddof 0
 *   verl       (r − μ) / (σ + 1e-6) ddof 1
 *   openrlhf   (r − μ) / (σ + 1e-9) ddof 1
 *   pipelinerl (r − μ₋ᵢ) / (σ + 1e-4)
 *   nemo_rl    (r − μ₋ᵢ) / (σ₋ᵢ + 1e-6)  ddof 1; not divided where the others have no variance
 *   prime_rl   r − μ
 *
 * A group whose rewards are all equal is 0 in every dialect.
 */
const advantagesIn = (groups: string) => `
    SELECT
      group_id,
      one.completion_index AS completion_index,
      one.sampled_id AS sampled_id,
      reward_name,
      one.reward AS reward,
      mean AS reward_mean,
      std AS reward_std,
      flat AS zero_variance,
      CASE WHEN flat THEN 0 ELSE (one.reward - mean) / std END AS paper,
      CASE WHEN flat THEN 0 ELSE (one.reward - mean) / std_pop END AS paper_ddof0,
      CASE WHEN flat THEN 0 ELSE (one.reward - mean) / (std + 1e-4::DOUBLE) END AS trl,
      CASE WHEN flat THEN 0 ELSE (one.reward - mean) / (std_pop + 1e-8::DOUBLE) END AS trl_async,
      CASE WHEN flat THEN 0 ELSE (one.reward - mean) / (std + 1e-6::DOUBLE) END AS verl,
      CASE WHEN flat THEN 0 ELSE (one.reward - mean) / (std + 1e-9::DOUBLE) END AS openrlhf,
      CASE WHEN flat THEN 0 ELSE (one.reward - list_avg(others)) / (std + 1e-4::DOUBLE) END AS pipelinerl,
      CASE
        WHEN flat THEN 0
        WHEN list_max(others) = list_min(others) THEN one.reward - list_avg(others)
        ELSE (one.reward - list_avg(others)) / (list_stddev_samp(others) + 1e-6::DOUBLE)
      END AS nemo_rl,
      CASE WHEN flat THEN 0 ELSE one.reward - mean END AS prime_rl,
      dialect AS chosen_dialect,
      coalesce(
        one.advantage,
        CASE dialect ${DIALECTS.map((dialect) => `WHEN '${dialect}' THEN ${dialect}`).join(' ')} END
      ) AS chosen,
      1 + len(list_filter(rewards, lambda other: other > one.reward)) AS rank,
      rank + (len(list_filter(rewards, lambda other: other = one.reward)) - 1) / 2 AS mean_rank
    FROM (
      SELECT *, rewards[:place - 1] || rewards[place + 1:] AS others
      FROM (
        SELECT group_id, reward_name, dialect, rewards,
          unnest(completions) AS one,
          generate_subscripts(completions, 1) AS place,
          list_avg(rewards) AS mean,
          coalesce(list_stddev_samp(rewards), 0) AS std,
          list_stddev_pop(rewards) AS std_pop,
          list_max(rewards) = list_min(rewards) AS flat
        FROM (SELECT *, list_transform(completions, lambda one: one.reward) AS rewards FROM (${groups}))
      )
    )`

/** Advantages of the live rewards. */
export const LIVE_ADVANTAGES = advantagesIn(LIVE_GROUPS)
/** Advantages of the rewards of `rescore`, for these events. */
export const rescoredAdvantages = (events: AdvantageEvents): string => advantagesIn(rescoredGroups(events))

/** With the rewards of `rescore`, where one of these origins has them. */
export function advantages(origins: readonly Origin[]): View {
  const rescored = rescoredAmong(origins)
  const again = rescored.length === 0 ? [] : [rescoredGroups({ formed: FORMED, rescored: rescoredEvents(rescored) })]
  return { ...ADVANTAGES, sql: advantagesIn([LIVE_GROUPS, ...again].join('\n      UNION ALL')) }
}

const ADVANTAGES: Omit<View, 'sql'> = {
  name: 'advantages',
  about:
    'One row per completion of a formed group and reward function: its advantage in every dialect, computed from the rewards here.',
  columns: {
    group_id: 'the completions of one prompt share it',
    completion_index: '0 … group_size − 1',
    sampled_id: 'ce_id of the policy.completions_sampled that held it',
    reward_name: 'which reward function: the live one, or one of `rescore`',
    reward: 'r',
    reward_mean: 'μ, over the group',
    reward_std: 'σ, over the group, ddof 1',
    zero_variance: 'all rewards of the group are equal; every dialect is 0 then',
    paper: '(r − μ) / σ, ddof 1',
    paper_ddof0: '(r − μ) / σ, ddof 0',
    trl: '(r − μ) / (σ + 1e-4)',
    trl_async: '(r − μ) / (σ + 1e-8), ddof 0',
    verl: '(r − μ) / (σ + 1e-6)',
    openrlhf: '(r − μ) / (σ + 1e-9)',
    pipelinerl: '(r − mean of the others) / (σ + 1e-4)',
    nemo_rl: '(r − mean of the others) / (σ of the others + 1e-6)',
    prime_rl: 'r − μ',
    chosen_dialect: 'the dialect that the group was formed or rescored with',
    chosen: 'the advantage in the chosen dialect; of a live reward, as a trainer got it',
    rank: '1 is the best of the group; equal rewards share the best place that they take together',
    mean_rank: 'equal rewards share the mean of the places that they take',
  },
}
