/**
 * Photographs of real towers (Lerer et al., 2016; paper 1 A.1.3): a label and no geometry. The only possible task is
 * binary stability.
 */

import { parseAnswer } from './answer.ts'
import type { Policy } from './policies.ts'
import type { Random } from './random.ts'
import { paperReward } from './reward.ts'
import type { Score } from './score.ts'
import type { Task } from './task.ts'
import { EDGE_UNITS } from './task.ts'

export interface Photograph {
  /** The label: whether the tower keeps standing. */
  readonly is_stable: boolean
}

/**
 * Scores one completion about a photograph with the paper's reward. A pure function of its arguments.
 *
 * @throws RangeError when the task is not binary stability.
 */
export function scorePhotograph({ is_stable }: Photograph, task: Task, text: string): Score {
  if (task !== 'binary_stability') {
    throw new RangeError(`task of a photograph: expected binary_stability, got ${task}; nothing can be moved in it`)
  }
  const parsed = parseAnswer(text, task)
  const judged = parsed.ok && parsed.answer.kind === 'judgement' ? parsed.answer.yes === is_stable : null
  const outcome = judged === null ? 'non_parseable' : judged ? 'correct' : 'incorrect'
  return {
    answer: parsed.text,
    parse_error: parsed.ok ? null : parsed.error,
    dx: null,
    dy: null,
    placed: null,
    settled: null,
    outcome,
    distance_world: null,
    ...paperReward({ task, outcome, distance_world: null }),
  }
}

/**
 * A scripted policy's completion about a photograph. noisy-oracle needs a displacement, which a photograph does not
 * have. So the policy sees a tower with the same label and the least ambiguous displacement: 0 or a whole edge
 * (inferred; it makes noisy-oracle(0) the oracle).
 */
export function completePhotograph(policy: Policy, { is_stable }: Photograph, stream: Random): string {
  const stand_in = {
    dataset: 'top_block',
    height: 2,
    offset_units: is_stable ? 0 : EDGE_UNITS,
    is_stable,
    optimal_move: { dx_units: is_stable ? 0 : -EDGE_UNITS, dy_units: 0 },
  } as const
  return policy.complete(stand_in, 'binary_stability', stream)
}
