import { declaredAs, defineValue } from '../../../schemas/declare/declared-value.ts'
import { defineEvent } from '../../../schemas/declare/event.ts'
import { float64 } from '../../../schemas/declare/logical-types.ts'
import { defineOrigin, scoredFields } from '../../../schemas/events/origin.ts'
import { rolloutRequested } from '../../../schemas/events/rollout.ts'
import { sourceId } from '../../../schemas/wire/identity.ts'
import { promptOf } from '../../../sources/present-scene.ts'
import { emitted, inSteps, type Source } from '../../../sources/source.ts'
import { GRAVITY } from './pendulums.ts'

const swing = defineValue({
  name: 'pendulum.swing',
  version: 1,
  about: 'A pendulum, as a policy is asked about it.',
  fields: { length_m: float64({ min: 0, max: 1_000 }, 'm'), period_s: float64({ min: 0 }, 's') },
})

export const gravityScored = defineEvent({
  type: 'pendulum.gravity_scored',
  version: 1,
  key: 'group_id',
  encoding: 'arrow',
  retention: 'derived',
  about: 'How far each completion is from the gravity of its pendulum.',
  row_key: ['sampled_id', 'completion_index'],
  row: scoredFields,
})

/** Asks a policy for the gravity that swings a pendulum. */
export const gravityOrigin = defineOrigin({
  name: 'pendulum',
  tasks: ['gravity'],
  start: swing,
  scored: gravityScored,
  scored_by: 'score-gravity',
})

export const GRAVITY_QUESTIONS = '/sources/gravity-questions'
export const GROUP_SIZE = 3
const START_MS = Date.parse('2026-01-01T00:00:00.000Z')
const timeAt = (ms: number) => new Date(START_MS + ms).toISOString()

/** Requests about pendulums of 1, 2, 3 … metres; with a larger count, it continues. */
export function gravityQuestions(count: number): Source {
  return inSteps({
    name: 'gravity-questions',
    steps: count,
    types: [rolloutRequested],
    produce: async (from, to) => Array.from({ length: to - from }, (_, offset) => questionOf(from + offset + 1)),
  })
}

function questionOf(length_m: number) {
  const period_s = 2 * Math.PI * Math.sqrt(length_m / GRAVITY)
  return emitted(
    rolloutRequested,
    {
      group_id: `swing-${length_m}`,
      origin: gravityOrigin.name,
      task: 'gravity',
      prompt: promptOf(`A pendulum of ${length_m} m swings once in ${period_s} s. What is g in m/s²?`, 'plain'),
      images: [],
      start_id: `${length_m} m`,
      start: declaredAs(swing, { length_m, period_s }),
      policy_role: 'policy',
      group_size: GROUP_SIZE,
      sampling: { temperature: null, top_p: null, top_k: null, max_tokens: null, stop: [] },
      seed: String(length_m),
      round: 0,
      purpose: 'train',
      deadline: { clock: 'virtual', time: timeAt(3_600_000) },
    },
    {
      id: sourceId(['gravity', String(length_m)]),
      source: GRAVITY_QUESTIONS,
      time: timeAt(length_m),
      clock: 'virtual',
    },
  )
}
