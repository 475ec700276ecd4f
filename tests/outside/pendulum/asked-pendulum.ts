import { completionsSampled } from '../../../schemas/events/policy.ts'
import { groupFormed, rolloutRequested } from '../../../schemas/events/rollout.ts'
import { type Domain, stage } from '../../../streams/domain.ts'
import { GRAVITY_QUESTIONS, gravityOrigin, gravityScored } from './gravity-question.ts'

/** A world written outside: policies are asked about its pendulums. It shares what rollouts need, and adds its own. */
export const askedPendulum: Domain = {
  name: 'asked-pendulum',
  about: 'the gravity that a policy finds for a pendulum',
  builds_on: ['rollouts'],
  events: [rolloutRequested, completionsSampled, gravityScored, groupFormed],
  origins: [gravityOrigin],
  scripted: async () => [(await import('./answer-gravity.ts')).gravityPolicies],
  sources: [{ name: 'gravity-questions', ce_sources: [GRAVITY_QUESTIONS], outputs: [rolloutRequested] }],
  async stages() {
    const { scoreGravity } = await import('./answer-gravity.ts')
    return [stage(scoreGravity(), scoreGravity)]
  },
  views: () => [],
}
