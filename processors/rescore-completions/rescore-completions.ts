import type { DataOf, Event } from '../../schemas/event.ts'
import { completionsRescored } from '../../schemas/reward.ts'
import { completionsScored } from '../../schemas/tower.ts'
import { causeOf, isA, type Transform } from '../processor.ts'
import { type CustomReward, checkedReward } from './custom-reward.ts'

/**
 * Another reward over recorded outcomes: each `tower.completions_scored` becomes one `tower.completions_rescored`.
 * Name, version, code and dialect are the variant, so that rewards lie side by side and the same one is the same event.
 */
export function rescoreCompletions(reward: CustomReward): Transform {
  const evaluate = checkedReward(reward)
  const { name: reward_name, version: reward_version, source_sha256, dialect } = reward
  return {
    shape: 'transform',
    name: 'rescore-completions',
    version: 1,
    about: `another reward over recorded completions: ${reward_name}`,
    variant: [reward_name, `v${reward_version}`, source_sha256, dialect],
    produces: 'derived',
    max_batch: 1,
    inputs: [completionsScored],
    outputs: [completionsRescored],
    apply(events, emit) {
      for (const event of events) {
        if (isA(event, completionsScored)) emit(completionsRescored, rowsOf(event), { causes: [causeOf(event)] })
      }
    },
  }

  function rowsOf(event: Event<typeof completionsScored>): DataOf<typeof completionsRescored> {
    return event.data.map((row) => {
      const { group_id, completion_index, attempt_id, sampled_id, outcome, reward: recorded_reward } = row
      const { scene_id, task, answer, parse_error, dx, dy, placed, settled, distance_world } = row
      const given =
        outcome === null || recorded_reward === null
          ? { reward: null, reward_components: {} }
          : evaluate({
              group_id,
              completion_index,
              scene_id,
              task,
              answer,
              parse_error,
              outcome,
              dx,
              dy,
              placed,
              settled,
              distance_world,
              recorded_reward,
            })
      const ids = { group_id, completion_index, attempt_id, sampled_id, scored_id: event.id }
      return { ...ids, ...given, reward_name, reward_version, source_sha256, dialect }
    })
  }
}
