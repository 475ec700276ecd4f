import { topicsOf } from '../../infra/runtime/topics.ts'
import { askPolicy } from '../../processors/ask-policy/ask-policy.ts'
import { formGroups } from '../../processors/form-groups/form-groups.ts'
import type { Effect, Processor, Stage } from '../../processors/processor.ts'
import { scoreCompletions } from '../../processors/score-completions/score-completions.ts'
import type { Scorer } from '../../processors/score-completions/scored-row.ts'
import { catalogue } from '../../schemas/catalogue.ts'
import { catalogueOf } from '../../schemas/registry.ts'
import { rewardOf, UNSCORABLE } from './inputs.ts'

export const vocabulary = catalogueOf(catalogue)

/** Physics of no time at all: the reward stands in the text. The real one is a pure function too. */
const SCORER: Scorer = {
  reward_name: 'simulated',
  reward_version: 1,
  physics_engine: 'none',
  physics_version: '1',
  score(_scene, _task, text) {
    if (text === UNSCORABLE) throw new Error('the scorer fails on this')
    return {
      answer: text,
      parse_error: null,
      dx: null,
      dy: null,
      placed: null,
      settled: null,
      outcome: 'stable',
      distance_world: null,
      reward: rewardOf(text),
      reward_components: {},
    }
  },
}

export const ASKING = askPolicy({ url: 'http://simulated/v1', model: 'simulated' }) as Effect
const SCORING = scoreCompletions(SCORER)
const GROUPING = formGroups({ dialect: 'paper' })

/** The tower loop, as `streams/topology.ts` wires it. */
export function stagesOf(has_policy: boolean): readonly Processor[] {
  return has_policy ? [ASKING, SCORING, GROUPING] : [SCORING, GROUPING]
}

export const DERIVING: readonly Stage[] = [SCORING, GROUPING].map((processor) => ({
  name: processor.name,
  variant: processor.variant,
  create: () => processor,
}))

export const topicsFor = (partitions: number) => topicsOf(catalogue, [ASKING, SCORING, GROUPING], partitions)
