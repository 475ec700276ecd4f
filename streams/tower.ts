import { RESCORING, REWARD_SOURCE } from '../processors/rescore-completions/rescoring.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { completionsRescored, rewardDefined } from '../schemas/events/reward.ts'
import { groupFormed, rolloutRequested } from '../schemas/events/rollout.ts'
import { completionsScored, scenePresented } from '../schemas/events/tower.ts'
import { towerOrigin } from '../schemas/events/tower-origin.ts'
import { rewardAgreement, rewardComparison } from '../sinks/duckdb/views/reward-comparison.ts'
import { rewardGroups } from '../sinks/duckdb/views/reward-groups.ts'
import { towerReports } from '../sinks/duckdb/views/tower-reports.ts'
import { LERER_SOURCE, TOWER_SOURCE } from '../sources/ce-source.ts'
import type { Domain } from './domain.ts'

/** Block towers: scenes, the rewards of answers about them, and other rewards for recorded answers. */
export const tower: Domain = {
  name: 'tower',
  about: 'block towers that a policy answers about, scored by physics',
  builds_on: ['rollouts'],
  // In the order in which a scene becomes a group.
  events: [
    scenePresented,
    rolloutRequested,
    completionsSampled,
    completionsScored,
    groupFormed,
    rewardDefined,
    completionsRescored,
  ],
  origins: [towerOrigin],
  scripted: async () => [(await import('../processors/sample-completions/tower-policies.ts')).towerPolicies],
  sources: [
    { name: 'tower-scenes', ce_sources: [TOWER_SOURCE, LERER_SOURCE], outputs: [scenePresented, rolloutRequested] },
  ],
  commands: [{ name: 'rescore', ce_sources: [REWARD_SOURCE], outputs: [rewardDefined] }],
  sweeps: [{ name: RESCORING, outputs: [completionsRescored] }],
  stages: async () => (await import('./tower-stages.ts')).towerStages(),
  views: () => [rewardGroups, rewardComparison, rewardAgreement],
  reports: [
    ...towerReports, // each has a layout in pipeline/report
  ],
}
