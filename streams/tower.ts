import { isRecorded } from '../processors/ask-policy/policy-name.ts'
import { RESCORING, REWARD_SOURCE } from '../processors/rescore-completions/rescoring.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { completionsRescored, rewardDefined } from '../schemas/events/reward.ts'
import { completionRejected, groupExpired, groupFormed, rolloutRequested } from '../schemas/events/rollout.ts'
import { completionsScored, scenePresented, towerOrigin } from '../schemas/events/tower.ts'
import { advantages } from '../sinks/duckdb/views/advantages.ts'
import { completionFates, funnel, funnelCheck } from '../sinks/duckdb/views/funnel.ts'
import { groups } from '../sinks/duckdb/views/groups.ts'
import { rewardAgreement, rewardComparison } from '../sinks/duckdb/views/reward-comparison.ts'
import { rewardGroups } from '../sinks/duckdb/views/reward-groups.ts'
import { rewards } from '../sinks/duckdb/views/rewards.ts'
import { towerReports } from '../sinks/duckdb/views/tower-reports.ts'
import { LERER_SOURCE, RECORDED_SOURCES, TOWER_SOURCE } from '../sources/ce-source.ts'
import type { Domain } from './domain.ts'

/** Block towers: scenes, groups of completions, their rewards. */
export const tower: Domain = {
  name: 'tower',
  about: 'block towers that a policy answers about, scored by physics',
  // In the order in which a scene becomes a group.
  events: [
    scenePresented,
    rolloutRequested,
    completionsSampled,
    completionsScored,
    groupFormed,
    groupExpired,
    completionRejected,
    rewardDefined,
    completionsRescored,
  ],
  origins: [towerOrigin],
  sources: [
    { name: 'tower-scenes', ce_sources: [TOWER_SOURCE, LERER_SOURCE], outputs: [scenePresented, rolloutRequested] },
    {
      name: 'recorded-completions',
      ce_sources: [RECORDED_SOURCES],
      outputs: [completionsSampled],
      runs_with: ({ policy }) => isRecorded(policy),
    },
  ],
  commands: [{ name: 'rescore', ce_sources: [REWARD_SOURCE], outputs: [rewardDefined] }],
  sweeps: [{ name: RESCORING, outputs: [completionsRescored] }],
  stages: async (options, origins) => (await import('./tower-stages.ts')).towerStages(options, origins),
  views: [
    advantages,
    rewards,
    groups,
    rewardGroups,
    rewardComparison,
    rewardAgreement,
    completionFates,
    funnel,
    funnelCheck,
  ],
  reports: [
    ...towerReports, // each has a layout in cli/report
  ],
}
