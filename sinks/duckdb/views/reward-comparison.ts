import { towerOrigin } from '../../../schemas/events/tower-origin.ts'
import { LIVE_ADVANTAGES, rescoredAdvantages, rescoredEvents } from './advantages.ts'
import { derived } from './derived.ts'
import { liveOf } from './rewards.ts'
import type { View } from './view.ts'

const formed = derived('rollout.group_formed')
const rescored = rescoredEvents([towerOrigin])

export const rewardComparison: View = {
  name: 'reward_comparison',
  about:
    'One row per completion of a formed group and rescored reward: reward, advantage and rank next to the live ones.',
  columns: {
    group_id: 'the completions of one prompt share it',
    completion_index: '0 … group_size − 1',
    task: 'binary_stability, x_only or x_y',
    outcome: 'what the world did with the answer',
    distance_world: 'd of paper 1 §3.4, world units',
    reward_name: 'the rescored reward function',
    dialect: 'how its advantages are normalised',
    reward: 'under it',
    advantage: 'under it, in its dialect',
    rank: '1 is the best of the group under it',
    live_reward_name: 'the reward function that scored the completion live',
    live_dialect: 'how the live advantages were normalised',
    live_reward: 'as recorded',
    live_advantage: 'as recorded',
    live_rank: '1 is the best of the group as recorded',
    rank_change: 'live_rank − rank: positive, it rises',
    advantage_flips: 'whether the advantage has the other sign: training would push the other way',
    mean_rank: 'as rank, but equal rewards share the mean of their places',
    live_mean_rank: 'the same as recorded',
  },
  sql: `
    SELECT
      again.group_id,
      again.completion_index,
      scored.task,
      scored.outcome,
      scored.distance_world,
      again.reward_name,
      again.chosen_dialect AS dialect,
      again.reward,
      again.chosen AS advantage,
      again.rank,
      before.reward_name AS live_reward_name,
      before.chosen_dialect AS live_dialect,
      before.reward AS live_reward,
      before.chosen AS live_advantage,
      before.rank AS live_rank,
      before.rank - again.rank AS rank_change,
      sign(before.chosen) * sign(again.chosen) < 0 AS advantage_flips,
      again.mean_rank,
      before.mean_rank AS live_mean_rank
    FROM (${rescoredAdvantages({ formed, rescored })}) AS again
    JOIN (${LIVE_ADVANTAGES}) AS before
      ON before.group_id = again.group_id
      AND before.completion_index = again.completion_index
      AND before.sampled_id = again.sampled_id
    JOIN ${liveOf(towerOrigin)} AS scored
      ON scored.group_id = again.group_id
      AND scored.placed_id = again.sampled_id
      AND scored.completion_index = again.completion_index
      AND scored.reward_name = before.reward_name`,
}

export const rewardAgreement: View = {
  name: 'reward_agreement',
  about: 'One row per formed group and rescored reward: how far the two agree on which completion is better.',
  columns: {
    group_id: 'the completions of one prompt share it',
    task: 'binary_stability, x_only or x_y',
    reward_name: 'the rescored reward function',
    live_reward_name: 'the reward function that scored the group live',
    completions: 'in the group',
    reward_mean: 'under the rescored reward',
    live_reward_mean: 'as recorded',
    rank_correlation: 'Spearman’s ρ, ties at their mean rank; null where one of the two does not vary',
    same_best: 'whether a completion is best, or among the best, under both',
    advantage_flips: 'how many completions training would push the other way',
    mean_advantage_change: 'mean |advantage − live advantage|',
    zero_variance: 'the rescored rewards are all equal',
    live_zero_variance: 'the recorded rewards are all equal',
  },
  sql: `
    WITH measured AS (
      SELECT
        group_id,
        any_value(task) AS task,
        reward_name,
        live_reward_name,
        count(*) AS completions,
        avg(reward) AS reward_mean,
        avg(live_reward) AS live_reward_mean,
        corr(mean_rank, live_mean_rank) AS correlation,
        bool_or(rank = 1 AND live_rank = 1) AS same_best,
        count(*) FILTER (advantage_flips) AS advantage_flips,
        avg(abs(advantage - live_advantage)) AS mean_advantage_change,
        max(reward) = min(reward) AS zero_variance,
        max(live_reward) = min(live_reward) AS live_zero_variance
      FROM reward_comparison
      GROUP BY group_id, reward_name, live_reward_name
    )
    SELECT
      group_id,
      task,
      reward_name,
      live_reward_name,
      completions,
      reward_mean,
      live_reward_mean,
      CASE WHEN zero_variance OR live_zero_variance THEN NULL ELSE correlation END AS rank_correlation,
      same_best,
      advantage_flips,
      mean_advantage_change,
      zero_variance,
      live_zero_variance
    FROM measured`,
}
