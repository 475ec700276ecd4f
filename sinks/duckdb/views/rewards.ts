import type { View } from './view.ts'

/** Each scored completion under the reward that scored it live, and under every one of `rescore`. */
export const EVERY_REWARD = `
      SELECT ce_id AS scored_id, ce_time, sampled_id, group_id, completion_index, scene_id, task, answer, outcome, dx, dy,
        distance_world, reward, reward_name, NULL AS rescored_dialect
      FROM tower.completions_scored
      UNION ALL
      SELECT scored.ce_id, scored.ce_time, scored.sampled_id, scored.group_id, scored.completion_index, scored.scene_id,
        scored.task, scored.answer, scored.outcome, scored.dx, scored.dy, scored.distance_world, again.reward,
        again.reward_name, again.dialect
      FROM tower.completions_rescored AS again
      JOIN tower.completions_scored AS scored
        ON scored.ce_id = again.scored_id AND scored.completion_index = again.completion_index`

/** What was asked, once for each group. */
export const ASKED = `
      SELECT group_id, any_value(scene.dataset) AS dataset, any_value(scene.split) AS split, any_value(purpose) AS purpose
      FROM rollout.requested
      GROUP BY group_id`

export const rewards: View = {
  name: 'rewards',
  about: 'One row per scored completion, reward function and advantage dialect: what was asked, answered and earned.',
  columns: {
    scene_id: 'the tower that was shown',
    group_id: 'the completions of one prompt share it',
    completion_index: '0 … group_size − 1',
    dataset: 'top_block or side_block, paper 1 §3.1',
    task: 'binary_stability, x_only or x_y, paper 1 §3.2',
    split: 'train, or which held-out band',
    policy: 'how the policy was asked for',
    model_version: 'newest policy version among the tokens of the completion; null for a scripted policy',
    purpose: 'train, eval or probe',
    answer: 'what stood in the last <answer> pair; null when nothing could be read',
    outcome: 'what the world did with the answer; null when the scorer itself failed',
    dx: 'answer units, right is positive',
    dy: 'answer units, up is positive',
    distance_world: 'd of paper 1 §3.4 at the placed position, world units',
    reward: 'of the named function: paper 1 §3.4, or one of `rescore`; null when the scorer itself failed',
    reward_name: 'which reward function; name one when averaging, a rescored log has several',
    advantage: 'in the named dialect; null until the group is formed',
    dialect: 'how the advantage was normalised; null until the group is formed',
    text: 'the completion as the policy wrote it',
    ce_time: 'when it was scored, in the time of the events',
  },
  sql: `
    WITH asked AS (${ASKED}
    ),
    scored AS (${EVERY_REWARD}
    )
    SELECT
      scored.scene_id,
      scored.group_id,
      scored.completion_index,
      asked.dataset,
      scored.task,
      asked.split,
      sampled.policy,
      list_max(sampled.token_policy_version) AS model_version,
      asked.purpose,
      scored.answer,
      scored.outcome,
      scored.dx,
      scored.dy,
      scored.distance_world,
      scored.reward,
      scored.reward_name,
      coalesce(formed.advantage, again.chosen) AS advantage,
      coalesce(formed.dialect, again.chosen_dialect) AS dialect,
      sampled.text,
      scored.ce_time
    FROM scored
    LEFT JOIN asked ON asked.group_id = scored.group_id
    LEFT JOIN policy.completions_sampled AS sampled
      ON sampled.ce_id = scored.sampled_id AND sampled.completion_index = scored.completion_index
    LEFT JOIN rollout.group_formed AS formed
      ON formed.sampled_id = scored.sampled_id
      AND formed.completion_index = scored.completion_index
      AND formed.reward_name = scored.reward_name
      AND scored.rescored_dialect IS NULL
    LEFT JOIN advantages AS again
      ON again.sampled_id = scored.sampled_id
      AND again.completion_index = scored.completion_index
      AND again.reward_name = scored.reward_name
      AND again.chosen_dialect = scored.rescored_dialect`,
}
