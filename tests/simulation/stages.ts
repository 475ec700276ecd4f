import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { askPolicy } from '../../processors/ask-policy/ask-policy.ts'
import type { Effect, Processor, Stage } from '../../processors/processor.ts'
import { scoreCompletions } from '../../processors/score-completions/score-completions.ts'
import type { Scorer } from '../../processors/score-completions/scored-row.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { processorsOf } from '../../streams/describe.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { ESTIMATING, estimated } from '../../testing/batched-model.ts'
import { rewardOf, UNSCORABLE } from './inputs.ts'

export const EVENTS = [...catalogue, estimated]
export const vocabulary = catalogueOf(EVENTS)

/** A scorer without physics: the reward is the number in the text. The real scorer is a pure function too. */
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

/** Stages of the topology that need a world or a model here have something else in their place. */
const IN_PLACE_OF: ReadonlyMap<string, Processor> = new Map([ASKING, SCORING].map((one) => [one.name, one]))
const STAGES = processorsOf(await topology(DEFAULTS)).map((one) => IN_PLACE_OF.get(one.name) ?? one)

/** Every stage of `streams/topology.ts`, a new one too, and in some schedules a model. */
export function stagesOf({ has_policy, has_model }: StagesAsked): readonly Processor[] {
  return [...STAGES.filter((one) => has_policy || one !== ASKING), ...(has_model ? [ESTIMATING] : [])]
}

interface StagesAsked {
  readonly has_policy: boolean
  readonly has_model: boolean
}

/** The stages whose outputs are recomputed. */
export function derivingOf(asked: StagesAsked): readonly Stage[] {
  return stagesOf(asked)
    .filter(({ produces }) => produces === 'derived')
    .map((processor) => ({ name: processor.name, variant: processor.variant, create: () => processor }))
}

export const topicsFor = (partitions: number) => topicsOf(EVENTS, [...STAGES, ESTIMATING], partitions)
