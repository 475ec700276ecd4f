import { isRecorded } from '../processors/ask-policy/policy-name.ts'
import { modelActivated, modelRefused } from '../schemas/events/model.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { completionRejected, groupExpired, groupFormed, rolloutRequested } from '../schemas/events/rollout.ts'
import { advantages } from '../sinks/duckdb/views/advantages.ts'
import { completionFates, funnel, funnelCheck } from '../sinks/duckdb/views/funnel.ts'
import { funnelReport } from '../sinks/duckdb/views/funnel-report.ts'
import { groups } from '../sinks/duckdb/views/groups.ts'
import { rewards } from '../sinks/duckdb/views/rewards.ts'
import { ACTIVATIONS_SOURCE, RECORDED_SOURCES } from '../sources/ce-source.ts'
import type { Domain } from './domain.ts'

/** What every world shares that asks policies for completions. It has no origin: other domains build on it. */
export const rollouts: Domain = {
  name: 'rollouts',
  about: 'completions that policies are asked for, and the groups that they form',
  // In the order in which a request becomes a group.
  events: [
    rolloutRequested,
    completionsSampled,
    groupFormed, // or
    groupExpired,
    completionRejected,
  ],
  sources: [
    {
      name: 'recorded-completions',
      ce_sources: [RECORDED_SOURCES],
      outputs: [completionsSampled],
      runs_with: ({ policy }) => isRecorded(policy),
    },
  ],
  // Facts of a stage that is there with some policies only: they stay in the log.
  commands: [{ name: 'model-activations', ce_sources: [ACTIVATIONS_SOURCE], outputs: [modelActivated, modelRefused] }],
  stages: async (options, all) => (await import('./rollout-stages.ts')).rolloutStages(options, all),
  views: (origins) => [
    advantages(origins),
    ...(origins.length === 0 ? [] : [rewards(origins)]),
    groups,
    completionFates,
    funnel,
    funnelCheck,
  ],
  reports: [
    funnelReport, // has a layout in pipeline/report
  ],
}
