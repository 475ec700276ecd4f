/**
 * The paper's reward (paper 1 §3.4) as a pure function of a small record, so that other rewards can be computed from
 * recorded outcomes without simulating again.
 */

import type { WorldOutcome } from './placement.ts'
import type { Task } from './task.ts'

export type Outcome = 'non_parseable' | WorldOutcome | 'correct' | 'incorrect'

/** All inputs of a reward. `distance_world`: world units from the optimal placement, null when nothing was placed. */
export interface RewardInput {
  readonly task: Task
  readonly outcome: Outcome
  readonly distance_world: number | null
}

/** The terms that add up to the reward: one that depends on the distance, scale · e^(−d²), and a constant. */
export type RewardComponents = {
  readonly gaussian: number
  readonly constant: number
}

export interface Reward {
  readonly reward: number
  readonly reward_components: RewardComponents
}

export type RewardFunction = (input: RewardInput) => Reward

export const REWARD_NAME = 'paper'
export const REWARD_VERSION = 1

interface Branch {
  readonly scale: number
  readonly constant: number
}

/** One row per branch of §3.4; branches that a task does not have are absent. */
const BRANCHES: Readonly<Record<Task, Partial<Record<Outcome, Branch>>>> = {
  binary_stability: {
    non_parseable: { scale: 0, constant: -1 },
    incorrect: { scale: 0, constant: 0 },
    correct: { scale: 0, constant: 1 },
  },
  x_only: {
    non_parseable: { scale: 0, constant: -5 },
    unstable: { scale: 2, constant: -2 },
    stable: { scale: 20, constant: 0 },
  },
  x_y: {
    non_parseable: { scale: 0, constant: -5 },
    below_floor: { scale: 0, constant: -4 },
    inside_tower: { scale: 2, constant: -4 },
    unstable: { scale: 2, constant: -2 },
    stable: { scale: 20, constant: 0 },
  },
}

/**
 * The reward of paper 1 §3.4, with d = `distance_world`:
 *
 * | outcome       | binary | x-only         | x-y            |
 * |---------------|--------|----------------|----------------|
 * | non_parseable | −1     | −5             | −5             |
 * | incorrect     | 0      |                |                |
 * | correct       | 1      |                |                |
 * | below_floor   |        |                | −4             |
 * | inside_tower  |        |                | 2·e^(−d²) − 4  |
 * | unstable      |        | 2·e^(−d²) − 2  | 2·e^(−d²) − 2  |
 * | stable        |        | 20·e^(−d²)     | 20·e^(−d²)     |
 *
 * d is |x distance| for x-only and the euclidean distance for x-y, at the placed position.
 *
 * @throws RangeError when the task has no such outcome, or when a distance is needed and is not a finite number ≥ 0.
 */
export function paperReward(input: RewardInput): Reward {
  const { task, outcome, distance_world } = input
  const branch = BRANCHES[task][outcome]
  if (branch === undefined) {
    throw new RangeError(
      `paperReward: outcome of ${task}: expected one of ${Object.keys(BRANCHES[task]).join(', ')}, got ${JSON.stringify(outcome)}`,
    )
  }
  const { scale, constant } = branch
  if (scale === 0) return { reward: constant, reward_components: { gaussian: 0, constant } }
  if (distance_world === null || !Number.isFinite(distance_world) || distance_world < 0) {
    throw new RangeError(
      `paperReward: distance_world of ${task}/${outcome}: expected a finite number of at least 0, got ${distance_world}`,
    )
  }
  const gaussian = scale * Math.exp(-(distance_world * distance_world))
  return { reward: gaussian + constant, reward_components: { gaussian, constant } }
}
