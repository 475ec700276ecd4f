import { literal } from '../../../schemas/derive/sql-quoting.ts'
import type { Report } from './report.ts'

/** The query of `report rewards`: one row per group, streamed. */
export const REWARD_GROUPS_SQL =
  'from reward_groups order by reward_name, task, dataset, split, policy, purpose, group_id'

/** World units per dot; advantage per cell, and the largest advantage drawn: larger ones are drawn at the edge. */
const DISTANCE_STEP = 0.01
export const STEP = 0.125
export const REACH = 4

/** The queries of `report compare`. Every result is small, however long the log is. */
export const comparisonSql = (name: string) => ({
  tasks: `
    select task, any_value(live_reward_name) as live, count(*) as groups, avg(rank_correlation) as rank_correlation,
      avg(same_best::int) as same_best, sum(advantage_flips) as flips, sum(completions) as completions,
      count(*) filter (zero_variance) as flat, count(*) filter (live_zero_variance) as live_flat
    from reward_agreement where reward_name = ${literal(name)} group by task order by task`,
  outcomes: `
    select task, outcome, count(*) as n, avg(live_reward) as live_reward, avg(reward) as reward,
      avg(live_advantage) as live_advantage, avg(advantage) as advantage
    from reward_comparison where reward_name = ${literal(name)} group by all order by all`,
  distances: `
    select task, outcome, round(distance_world / ${DISTANCE_STEP}) * ${DISTANCE_STEP} as distance,
      avg(live_reward) as live_reward, avg(reward) as reward, count(*) as n
    from reward_comparison where reward_name = ${literal(name)} group by all order by all`,
  advantages: `
    select task, greatest(-${REACH}, least(${REACH}, round(live_advantage / ${STEP}) * ${STEP})) as live,
      greatest(-${REACH}, least(${REACH}, round(advantage / ${STEP}) * ${STEP})) as again, count(*) as n
    from reward_comparison where reward_name = ${literal(name)} group by all order by all`,
})

/** The reward that the questions of `report compare` name, where they are an example. */
export const EXAMPLE_REWARD = 'mine'

/** `report` lays them out itself, and draws them. */
export const towerReports: readonly Report[] = [
  {
    name: 'rewards',
    about: 'mean reward of each task, dataset, split and policy with 95 % intervals, as paper 1 A.2 lays it out',
    questions: [REWARD_GROUPS_SQL],
  },
  {
    name: 'compare',
    about: 'a rescored reward against the one that scored live: means, ranks and advantages',
    questions: Object.values(comparisonSql(EXAMPLE_REWARD)),
  },
]
