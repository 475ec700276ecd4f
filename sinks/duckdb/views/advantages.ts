import { DIALECTS } from '../../../schemas/rollout.ts'
import type { View } from './view.ts'

/**
 * The equations of design §10, in SQL. With r the reward, n the group's size, μ and σ its mean and deviation, and μ₋ᵢ
 * and σ₋ᵢ those of the other n − 1:
 *
 *   paper      (r − μ) / σ          ddof 1 (inferred: paper 1 §3.3 does not say); paper_ddof0 beside it
 *   trl        (r − μ) / (σ + 1e-4) ddof 1
 *   verl       (r − μ) / (σ + 1e-6) ddof 1
 *   openrlhf   (r − μ) / (σ + 1e-9) ddof 1
 *   pipelinerl (r − μ₋ᵢ) / (σ + 1e-4)
 *   nemo_rl    (r − μ₋ᵢ) / (σ₋ᵢ + 1e-6)  ddof 1; not divided where the others have no variance
 *   prime_rl   r − μ
 *
 * A group whose rewards are all equal is 0 in every dialect.
 *
 * A rescored completion is in the groups that formed live, so rewards are compared over the same completions.
 */
export const advantages: View = {
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
    verl: '(r − μ) / (σ + 1e-6)',
    openrlhf: '(r − μ) / (σ + 1e-9)',
    pipelinerl: '(r − mean of the others) / (σ + 1e-4)',
    nemo_rl: '(r − mean of the others) / (σ of the others + 1e-6)',
    prime_rl: 'r − μ',
    chosen_dialect: 'the dialect that the group was formed or rescored with',
    chosen: 'the advantage in the chosen dialect; of a live reward, as a trainer got it',
  },
  sql: `
    WITH live AS (
      SELECT group_id, completion_index, sampled_id, reward_name, reward, advantage, dialect, group_size
      FROM rollout.group_formed
      QUALIFY row_number() OVER (PARTITION BY group_id, reward_name, completion_index ORDER BY ce_id) = 1
    ),
    rescored AS (
      SELECT again.group_id, again.completion_index, again.sampled_id, again.reward_name, again.reward,
        NULL::DOUBLE AS advantage, again.dialect, live.group_size
      FROM tower.completions_rescored AS again
      JOIN (SELECT DISTINCT sampled_id, completion_index, group_size FROM live) AS live
        ON live.sampled_id = again.sampled_id AND live.completion_index = again.completion_index
      WHERE again.reward IS NOT NULL
      -- A rescore that is not through has groups that are not whole: their mean would not be the group's.
      QUALIFY count(DISTINCT again.completion_index) OVER (PARTITION BY again.group_id, again.reward_name) = live.group_size
        AND row_number() OVER (PARTITION BY again.group_id, again.reward_name, again.completion_index ORDER BY again.ce_id) = 1
    ),
    completion AS (FROM live UNION ALL FROM rescored),
    measured AS (
      SELECT *,
        avg(reward) OVER same_group AS mean,
        coalesce(stddev_samp(reward) OVER same_group, 0) AS std,
        stddev_pop(reward) OVER same_group AS std_pop,
        max(reward) OVER same_group = min(reward) OVER same_group AS flat,
        avg(reward) OVER the_others AS mean_others,
        stddev_samp(reward) OVER the_others AS std_others,
        max(reward) OVER the_others = min(reward) OVER the_others AS flat_others
      FROM completion
      WINDOW
        same_group AS (PARTITION BY group_id, reward_name),
        the_others AS (
          PARTITION BY group_id, reward_name ORDER BY completion_index
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW
        )
    )
    SELECT
      group_id,
      completion_index,
      sampled_id,
      reward_name,
      reward,
      mean AS reward_mean,
      std AS reward_std,
      flat AS zero_variance,
      CASE WHEN flat THEN 0 ELSE (reward - mean) / std END AS paper,
      CASE WHEN flat THEN 0 ELSE (reward - mean) / std_pop END AS paper_ddof0,
      CASE WHEN flat THEN 0 ELSE (reward - mean) / (std + 1e-4::DOUBLE) END AS trl,
      CASE WHEN flat THEN 0 ELSE (reward - mean) / (std + 1e-6::DOUBLE) END AS verl,
      CASE WHEN flat THEN 0 ELSE (reward - mean) / (std + 1e-9::DOUBLE) END AS openrlhf,
      CASE WHEN flat THEN 0 ELSE (reward - mean_others) / (std + 1e-4::DOUBLE) END AS pipelinerl,
      CASE WHEN flat THEN 0 WHEN flat_others THEN reward - mean_others ELSE (reward - mean_others) / (std_others + 1e-6::DOUBLE) END AS nemo_rl,
      CASE WHEN flat THEN 0 ELSE reward - mean END AS prime_rl,
      dialect AS chosen_dialect,
      coalesce(advantage, CASE dialect ${DIALECTS.map((dialect) => `WHEN '${dialect}' THEN ${dialect}`).join(' ')} END) AS chosen
    FROM measured`,
}
