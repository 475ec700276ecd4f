import type { View } from './view.ts'

/** Ranks are competition ranks: equal rewards share the best place that they take together. */
export const rewardComparison: View = {
  name: 'reward_comparison',
  about:
    'One row per completion of a formed group and rescored reward: reward, advantage and rank beside those it had live.',
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
  },
  sql: `
    WITH ranked AS (
      SELECT *, rank() OVER (PARTITION BY group_id, reward_name ORDER BY reward DESC) AS rank FROM advantages
    ),
    rescored AS (
      SELECT DISTINCT reward_name FROM tower.completions_rescored
    )
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
      live.reward_name AS live_reward_name,
      live.chosen_dialect AS live_dialect,
      live.reward AS live_reward,
      live.chosen AS live_advantage,
      live.rank AS live_rank,
      live.rank - again.rank AS rank_change,
      sign(live.chosen) * sign(again.chosen) < 0 AS advantage_flips
    FROM ranked AS again
    JOIN ranked AS live
      ON live.group_id = again.group_id
      AND live.completion_index = again.completion_index
      AND live.sampled_id = again.sampled_id
    JOIN tower.completions_scored AS scored
      ON scored.sampled_id = again.sampled_id
      AND scored.completion_index = again.completion_index
      AND scored.reward_name = live.reward_name
    WHERE again.reward_name IN (FROM rescored) AND live.reward_name NOT IN (FROM rescored)`,
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
    WITH placed AS (
      SELECT *,
        rank + (count(*) OVER (PARTITION BY group_id, reward_name, live_reward_name, rank) - 1) / 2 AS mean_rank,
        live_rank + (count(*) OVER (PARTITION BY group_id, reward_name, live_reward_name, live_rank) - 1) / 2 AS live_mean_rank
      FROM reward_comparison
    ),
    measured AS (
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
      FROM placed
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
