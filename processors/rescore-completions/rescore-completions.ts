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
    async apply(events, { emit }) {
      for (const event of events) {
        if (isA(event, completionsScored)) emit(completionsRescored, await rowsOf(event), { causes: [causeOf(event)] })
      }
    },
  }

  async function rowsOf(event: Event<typeof completionsScored>): Promise<DataOf<typeof completionsRescored>> {
    const rewards = (await reward.evaluate(event.data.filter(isScored).map(recordedCompletion))).values()
    return event.data.map((row) => {
      const { group_id, completion_index, attempt_id, sampled_id } = row
      const given = (isScored(row) ? rewards.next().value : undefined) ?? NO_REWARD
      const { reward, reward_components } = given
      const ids = { group_id, completion_index, attempt_id, sampled_id, scored_id: event.id }
      return { ...ids, reward, reward_components, reward_name, reward_version, source_sha256, dialect }
    })
  }
}

const NO_REWARD = { reward: null, reward_components: {} }

type ScoredRow = RowOfEvent<typeof completionsScored>
type RewardedRow = ScoredRow & { readonly outcome: RecordedCompletion['outcome']; readonly reward: number }

/** False for a completion whose live scoring failed: there is nothing to reward. */
function isScored(row: ScoredRow): row is RewardedRow {
  return row.outcome !== null && row.reward !== null
}

function recordedCompletion(row: RewardedRow): RecordedCompletion {
  const { group_id, completion_index, scene_id, task, answer, parse_error, outcome } = row
  const { dx, dy, placed, settled, distance_world, reward: recorded_reward } = row
  // One literal, and no spread of two: a million of these are made in one run.
  // biome-ignore format: two lines of names
  return {
    group_id, completion_index, scene_id, task, answer, parse_error, outcome,
    dx, dy, placed, settled, distance_world, recorded_reward,
  }
}
