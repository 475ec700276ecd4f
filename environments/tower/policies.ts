/**
 * Scripted policies: pure functions of a scene's facts, the task and a stream of random numbers. They cost nothing and
 * their mean rewards are known, so a trained policy can be compared with them.
 */

import type { Random } from './random.ts'
import type { SceneFacts } from './scene.ts'
import type { Task } from './task.ts'
import { ANSWER_RANGES, assertLegalPair, EDGE_UNITS } from './task.ts'

export interface Policy {
  /** As written on the command line; parsing it gives the same policy. */
  readonly name: string
  /** The text of one completion. `stream` is the completion's own; equal arguments give equal text. */
  complete(scene: SceneFacts, task: Task, stream: Random): string
}

/** The best possible answer: reward 1 on binary stability and 20 on every other task. */
export const oracle: Policy = {
  name: 'oracle',
  complete: (scene, task) => {
    assertLegalPair(scene.dataset, task)
    if (task === 'binary_stability') return judgement(scene.is_stable)
    return task === 'x_only'
      ? move(scene.optimal_move.dx_units)
      : move(scene.optimal_move.dx_units, scene.optimal_move.dy_units)
  },
}

/**
 * The best answer for a scene seen with noise: normal with standard deviation `sigma_units`, in answer units, added to
 * the misplaced block's x, and independently to the lift height. Answers are rounded and may leave the prompt's range.
 */
export function noisyOracle(sigma_units: number): Policy {
  return {
    name: `noisy-oracle(${sigma_units})`,
    complete: (scene, task, stream) => {
      assertLegalPair(scene.dataset, task)
      const seen_offset = scene.offset_units + sigma_units * stream.normal()
      if (task === 'binary_stability') return judgement(Math.abs(seen_offset) < EDGE_UNITS / 2)
      if (task === 'x_only') return move(Math.round(-seen_offset))
      return move(Math.round(-seen_offset), Math.round(scene.optimal_move.dy_units + sigma_units * stream.normal()))
    },
  }
}

/** Uniform over the answers that the prompt allows. */
export const randomLegal: Policy = {
  name: 'random-legal',
  complete: (scene, task, stream) => {
    assertLegalPair(scene.dataset, task)
    if (task === 'binary_stability') return judgement(stream.integer(0, 1) === 1)
    const dx = stream.integer(ANSWER_RANGES.dx.low, ANSWER_RANGES.dx.high)
    return task === 'x_only' ? move(dx) : move(dx, stream.integer(ANSWER_RANGES.dy.low, ANSWER_RANGES.dy.high))
  },
}

/** The same text for every request: `constant(<answer>0</answer>)`. */
export function constant(text: string): Policy {
  return { name: `constant(${text})`, complete: () => text }
}

/** What a person may type. */
export const POLICY_NAMES = 'oracle, noisy-oracle(SIGMA), random-legal or constant(TEXT)'

/**
 * Parses a policy's name.
 *
 * @returns undefined when it is none of `POLICY_NAMES`
 * @throws RangeError that states which argument was expected
 */
export function parsePolicy(name: string): Policy | undefined {
  if (name === oracle.name) return oracle
  if (name === randomLegal.name) return randomLegal
  const call = /^([a-z-]+)\(([\s\S]*)\)$/.exec(name)
  if (call?.[1] === 'constant') return constant(call[2] as string)
  if (call?.[1] === 'noisy-oracle') {
    const argument = call[2] as string
    const sigma_units = Number(argument)
    if (argument.trim() !== '' && Number.isFinite(sigma_units) && sigma_units >= 0) return noisyOracle(sigma_units)
    throw new RangeError(
      `policy noisy-oracle: expected a standard deviation of at least 0 answer units, as in noisy-oracle(150), got (${argument})`,
    )
  }
  return undefined
}

function judgement(yes: boolean): string {
  return `<answer>${yes ? 'Yes' : 'No'}</answer>`
}

/** Adding zero keeps "-0" out of the text. */
function move(...integers: readonly number[]): string {
  return `<answer>${integers.map((integer) => integer + 0).join(', ')}</answer>`
}
