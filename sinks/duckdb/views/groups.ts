import { derived } from './derived.ts'
import type { View } from './view.ts'

export const groups: View = {
  name: 'groups',
  about: 'One row per group, and per reward function and advantage dialect where several were formed.',
  columns: {
    group_id: 'the completions of one prompt share it',
    origin: 'the environment that asked',
    task: 'binary_stability, x_only or x_y',
    purpose: 'train, eval or probe, as it was asked for; train for groups that were formed before events told it',
    group_size: 'N of paper 1 §3.3',
    reward_mean: 'over the group; null unless formed',
    reward_std: 'over the group, ddof 1; null unless formed',
    zero_variance: 'all N rewards are equal: the group teaches nothing; null unless formed',
    reward_name: 'which reward function; null unless formed',
    dialect: 'how its advantages were normalised; null unless formed',
    policy_version_oldest: 'over the tokens of the group; null for a scripted policy',
    policy_version_newest: 'over the tokens of the group; null for a scripted policy',
    lineage: 'the training run that the policy versions count in',
    state: 'formed, expired, or pending: asked for, and neither whole nor out of time',
    ce_time: 'when it came into this state, in the time of the events; for pending, when it was asked for',
  },
  sql: `
    SELECT
      group_id,
      any_value(origin) AS origin,
      any_value(task) AS task,
      any_value(purpose) AS purpose,
      any_value(group_size) AS group_size,
      any_value(reward_mean) AS reward_mean,
      any_value(reward_std) AS reward_std,
      any_value(zero_variance) AS zero_variance,
      any_value(reward_name) AS reward_name,
      any_value(dialect) AS dialect,
      any_value(policy_version_oldest) AS policy_version_oldest,
      any_value(policy_version_newest) AS policy_version_newest,
      any_value(lineage) AS lineage,
      'formed' AS state,
      any_value(ce_time) AS ce_time
    FROM ${derived('rollout.group_formed')}
    GROUP BY ce_id, group_id
    UNION ALL BY NAME
    SELECT
      others.group_id,
      any_value(origin) AS origin,
      any_value(task) AS task,
      any_value(purpose) AS purpose,
      coalesce(any_value(group_size) FILTER (expired), any_value(group_size)) AS group_size,
      CASE WHEN bool_or(expired) THEN 'expired' ELSE 'pending' END AS state,
      coalesce(min(ce_time) FILTER (expired), min(ce_time)) AS ce_time
    FROM (
      SELECT group_id, origin, task, purpose, group_size, ce_time, false AS expired FROM rollout.requested
      UNION ALL BY NAME
      SELECT group_id, group_size, ce_time, true AS expired FROM ${derived('rollout.group_expired')}
    ) AS others
    ANTI JOIN ${derived('rollout.group_formed')} AS formed ON formed.group_id = others.group_id
    GROUP BY others.group_id`,
}
