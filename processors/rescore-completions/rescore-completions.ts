import type { DataOf, Event, RowOfEvent } from '../../schemas/declare/event.ts'
import { completionsRescored } from '../../schemas/events/reward.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { causeOf, isA, type Transform } from '../processor.ts'
import type { CustomReward, RecordedCompletion } from './custom-reward.ts'
import { RESCORING } from './rescoring.ts'

/**
 * Applies another reward to recorded outcomes: each `tower.completions_scored` gives one `tower.completions_rescored`.
 * Name, version, code and dialect are the variant, so that rewards coexist and repeating one gives the same events.
 */
export function rescoreCompletions(reward: CustomReward): Transform {
  const { name: reward_name, version: reward_version, source_sha256, dialect } = reward
  return {
    shape: 'transform',
    name: RESCORING,
    version: 1,
    about: `another reward over recorded completions: ${reward_name}`,
    variant: [reward_name, `v${reward_version}`, source_sha256, dialect],
    produces: 'derived',
    max_batch: 1,
    inputs: [completionsScored],
    outputs: [completionsRescored],
    async apply(events, emit) {
      for (const event of events) {
        if (isA(event, completionsScored)) emit(completionsRescored, await rowsOf(event), { causes: [causeOf(event)] })
      }
    },
  }

  async function rowsOf(event: Event<typeof completionsScored>): Promise<DataOf<typeof completionsRescored>> {
    const completions = event.data.flatMap((row) => recordedCompletion(row) ?? [])
    const rewards = (await reward.evaluate(completions)).values()
    return event.data.map((row) => {
      const { group_id, completion_index, attempt_id, sampled_id } = row
      const given = recordedCompletion(row) === undefined ? NO_REWARD : (rewards.next().value ?? NO_REWARD)
      const ids = { group_id, completion_index, attempt_id, sampled_id, scored_id: event.id }
      return { ...ids, ...given, reward_name, reward_version, source_sha256, dialect }
    })
  }
}

const NO_REWARD = { reward: null, reward_components: {} }

/** @returns undefined for a completion whose live scoring failed: there is nothing to reward. */
function recordedCompletion(row: RowOfEvent<typeof completionsScored>): RecordedCompletion | undefined {
  const { group_id, completion_index, scene_id, task, answer, parse_error, outcome } = row
  const { dx, dy, placed, settled, distance_world, reward: recorded_reward } = row
  if (outcome === null || recorded_reward === null) return undefined
  return {
    ...{ group_id, completion_index, scene_id, task, answer, parse_error, outcome },
    ...{ dx, dy, placed, settled, distance_world, recorded_reward },
  }
}
