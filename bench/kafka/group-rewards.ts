import { z } from 'zod'
import { type Cause, causeOf, type Fold, InvariantError, isA } from '../../processors/processor.ts'
import { defineEvent } from '../../schemas/declare/event.ts'
import { float64, int32, list, utf8 } from '../../schemas/declare/logical-types.ts'

/** The peers' job as events and a fold, written as by a reader of `processors/processor.ts` alone. */

export const GROUP = 16

export const rewardObserved = defineEvent({
  type: 'bench.reward_observed',
  version: 1,
  key: 'key',
  encoding: 'json',
  retention: 'source',
  about: 'One message of the peers’ job.',
  row: { key: utf8(), sequence: int32(), reward: float64(), padding: utf8() },
})

/** Each run writes its groups to its own topic, as each peer's run does. */
export const rewardsGrouped = (run: string) =>
  defineEvent({
    type: `bench.rewards_grouped_${run}`,
    version: 1,
    key: 'key',
    encoding: 'json',
    retention: 'derived',
    about: 'Sixteen rewards in a row of one key.',
    row: {
      key: utf8(),
      group: int32('counts the groups of a key from 0'),
      mean: float64(),
      standard_deviation: float64('ddof 1'),
      advantages: list(float64(), '(r − mean) / standard_deviation, in the order of the rewards'),
    },
  })

interface Pending {
  readonly groups: number
  readonly rewards: readonly number[]
  readonly causes: readonly Cause[]
}

const pending = z.object({
  groups: z.int(),
  rewards: z.array(z.number()),
  causes: z.array(
    z.object({
      id: z.string(),
      time: z.string(),
      clock: z.enum(['virtual', 'wall']),
      correlation: z.string().exactOptional(),
    }),
  ),
})

export function groupRewards(run: string): Fold<Pending> {
  const grouped = rewardsGrouped(run)
  return {
    shape: 'fold',
    name: `group-rewards-${run}`,
    version: 1,
    about: 'sixteen rewards in a row of a key become a group with advantages',
    variant: [],
    produces: 'derived',
    inputs: [rewardObserved],
    outputs: [grouped],
    state: { version: 1, schema: pending },
    apply(state, event, emit) {
      if (!isA(event, rewardObserved)) throw new InvariantError(`expected ${rewardObserved.type}, got ${event.type}`)
      const groups = state?.groups ?? 0
      const rewards = [...(state?.rewards ?? []), event.data.reward]
      const causes = [...(state?.causes ?? []), causeOf(event)]
      if (rewards.length < GROUP) return { groups, rewards, causes }
      emit(grouped, { key: event.key, group: groups, ...statisticsOf(rewards) }, { causes })
      return { groups: groups + 1, rewards: [], causes: [] }
    },
  }
}

/**
 * μ = Σ r / N, σ = sqrt(Σ (r − μ)² / (N − 1)), Â = (r − μ) / σ.
 *
 * @param rewards r [N], N ≥ 2, not all the same
 */
export function statisticsOf(rewards: readonly number[]) {
  const mean = sum(rewards) / rewards.length
  const standard_deviation = Math.sqrt(sum(rewards.map((reward) => (reward - mean) ** 2)) / (rewards.length - 1))
  return { mean, standard_deviation, advantages: rewards.map((reward) => (reward - mean) / standard_deviation) }
}

function sum(values: readonly number[]): number {
  let total = 0
  for (const value of values) total += value
  return total
}
