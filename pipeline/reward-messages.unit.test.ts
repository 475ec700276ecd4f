import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RecordedCompletion } from '../processors/rescore-completions/custom-reward.ts'
import { OUTCOMES, TASKS } from '../schemas/events/tower.ts'
import { packCompletions, packRewards, unpackCompletions, unpackRewards } from './reward-messages.ts'

const few = fc.constantFrom('', 'a', 'b')
const finite = fc.oneof(fc.constantFrom(0, -0, 5e-324), fc.double({ noNaN: true, noDefaultInfinity: true }))
const nullable = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: null })
const position = nullable(fc.record({ x: finite, y: finite }))
const completion: fc.Arbitrary<RecordedCompletion> = fc.record({
  group_id: few,
  completion_index: fc.nat(),
  scene_id: few,
  task: fc.constantFrom(...TASKS),
  answer: nullable(few),
  parse_error: nullable(few),
  outcome: fc.constantFrom(...OUTCOMES),
  dx: nullable(fc.integer()),
  dy: nullable(fc.integer()),
  placed: position,
  settled: position,
  distance_world: nullable(finite),
  recorded_reward: finite,
})

test('completions arrive as they were sent: texts that repeat, nulls and the sign of zero', () => {
  const events = fc.array(fc.array(completion, { maxLength: 5 }), { maxLength: 4 })
  fc.assert(
    fc.property(events, (sent) => {
      expect(unpackCompletions(structuredClone(packCompletions(sent)))).toEqual(sent)
    }),
  )
})

test('rewards arrive as they were sent, with their terms', () => {
  const terms = fc.dictionary(few, finite)
  const rewards = fc.array(fc.record({ reward: finite, reward_components: terms }))
  fc.assert(
    fc.property(rewards, (sent) => {
      expect(unpackRewards(structuredClone(packRewards(sent)))).toEqual(sent)
    }),
  )
})
