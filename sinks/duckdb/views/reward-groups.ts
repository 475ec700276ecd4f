import { OUTCOMES } from '../../../schemas/events/tower.ts'
import { towerOrigin } from '../../../schemas/events/tower-origin.ts'
import { askedOf, liveOf, rescoredOf } from './rewards.ts'
import type { View } from './view.ts'

/** `report rewards` reads this: completions of one prompt are not independent, so the group is the unit of an interval. */
export const rewardGroups: View = {
  name: 'reward_groups',
  about:
    'One row per group, policy and reward function: the sums that means, intervals and outcome shares follow from.',
  columns: {
    task: 'binary_stability, x_only or x_y',
    dataset: 'where the scene is from',
    split: 'train, or which held-out band',
    policy: 'how the policy was asked for',
    purpose: 'train, eval or probe',
    reward_name: 'which reward function',
    group_id: 'the completions of one prompt share it',
    completions: 'scored completions, failures of the scorer included',
    rewarded: 'of those, how many have a reward',
    reward_sum: 'over the rewarded ones',
    legal: 'rewarded completions that could be parsed',
    legal_sum: 'reward over the legal ones',
    ...Object.fromEntries(OUTCOMES.map((outcome) => [outcome, `completions with the outcome ${outcome}`])),
  },
  sql: `
    SELECT
      scored.task,
      asked.dataset,
      asked.split,
      sampled.policy,
      asked.purpose,
      scored.reward_name,
      scored.group_id,
      count(*) AS completions,
      count(scored.reward) AS rewarded,
      coalesce(sum(scored.reward), 0) AS reward_sum,
      count(scored.reward) FILTER (scored.outcome <> 'non_parseable') AS legal,
      coalesce(sum(scored.reward) FILTER (scored.outcome <> 'non_parseable'), 0) AS legal_sum,
      ${OUTCOMES.map((outcome) => `count(*) FILTER (scored.outcome = '${outcome}') AS ${outcome}`).join(',\n      ')}
    FROM (FROM ${liveOf(towerOrigin)} UNION ALL BY NAME FROM ${rescoredOf(towerOrigin)}) AS scored
    LEFT JOIN ${askedOf()} AS asked ON asked.group_id = scored.group_id
    LEFT JOIN policy.completions_sampled AS sampled
      ON sampled.group_id = scored.group_id
      AND sampled.ce_id = scored.sampled_id
      AND sampled."row" = scored."row"
      AND sampled.completion_index = scored.completion_index
    GROUP BY ALL`,
}
