/** The reward that the benchmark of rescoring computes. */

import type { RecordedCompletion } from '../processors/rescore-completions/custom-reward.ts'

export const version = 1

export function reward({ outcome, distance_world, recorded_reward }: RecordedCompletion): number {
  return outcome === 'stable' ? 20 * Math.exp(-(distance_world ?? 0)) : Math.min(0, recorded_reward)
}
