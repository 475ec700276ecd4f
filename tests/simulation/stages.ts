import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { askPolicy } from '../../processors/ask-policy/ask-policy.ts'
import { causeOf, type Effect, isA, type Processor, type Stage, type Transform } from '../../processors/processor.ts'
import { scoreCompletions } from '../../processors/score-completions/score-completions.ts'
import type { Scorer } from '../../processors/score-completions/scored-row.ts'
import { defineEvent } from '../../schemas/declare/event.ts'
import { int32, utf8 } from '../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { processorsOf } from '../../streams/describe.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { rewardOf, UNSCORABLE } from './inputs.ts'

export const estimated = defineEvent({
  ...{ type: 'simulated.estimated', version: 1, key: 'group_id', encoding: 'json', retention: 'derived' },
  about: 'What a model says of an event, which depends on the batch that the event was in.',
  row: { group_id: utf8(), position: int32('in its batch'), batch_size: int32(), first_id: utf8('of its batch') },
})

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

const MODEL_BATCH = 4

/** A model without padding: its output for an event depends on the batch, and some batches exceed its memory. */
const ESTIMATING: Transform = {
  shape: 'transform',
  name: 'estimate-completions',
  version: 1,
  about: 'says where in its batch an event was',
  variant: [],
  produces: 'derived',
  inputs: [completionsSampled],
  outputs: [estimated],
  max_batch: MODEL_BATCH,
  apply(events, { emit }) {
    const is_heavy = events.some((event) => isA(event, completionsSampled) && event.data.length > 1)
    if (is_heavy && events.length > MODEL_BATCH / 2) throw new Error('out of memory')
    events.forEach((event, position) => {
      const row = { group_id: event.key, position, batch_size: events.length, first_id: events[0]?.id ?? '' }
      emit(estimated, row, { causes: [causeOf(event)] })
    })
  },
}

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
