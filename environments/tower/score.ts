/**
 * From a completion's text to the outcome and the reward.
 */

import type { Answer, ParseError } from './answer.ts'
import { parseAnswer } from './answer.ts'
import type { Physics } from './physics.ts'
import type { Position } from './placement.ts'
import { placedPosition, placeMovedBlock } from './placement.ts'
import type { Outcome, RewardComponents } from './reward.ts'
import { paperReward } from './reward.ts'
import type { SceneFacts } from './scene.ts'
import type { Task } from './task.ts'
import { assertLegalPair, UNITS_PER_WORLD } from './task.ts'

export interface ScoreOptions {
  readonly physics: Physics
  /** See `AnswerOptions.reject_out_of_range`. */
  readonly reject_out_of_range?: boolean
}

/** Name and version of the reward are in `reward.ts`, those of the engine in `Physics`. */
export interface Score {
  /** The text between the answer tags, trimmed; null without tags. */
  readonly answer: string | null
  readonly parse_error: ParseError | null
  /** The move in answer units, as applied; null when there is none (unparseable, or a judgement). */
  readonly dx: number | null
  readonly dy: number | null
  /** The moved block's centre where the answer puts it and where it comes to rest, in world units. */
  readonly placed: Position | null
  readonly settled: Position | null
  readonly outcome: Outcome
  /** From the placed to the optimal position: |x| for x-only, euclidean for x-y, world units. */
  readonly distance_world: number | null
  readonly reward: number
  readonly reward_components: RewardComponents
}

/**
 * Scores one completion of `task` on `scene` with the paper's reward. A pure function of its arguments.
 *
 * @throws RangeError when the scene's dataset does not have the task.
 */
export function scoreAnswer(scene: SceneFacts, task: Task, text: string, options: ScoreOptions): Score {
  assertLegalPair(scene.dataset, task)
  const { physics, reject_out_of_range = false } = options
  const parsed = parseAnswer(text, task, { reject_out_of_range })
  const judged = parsed.ok ? judge(scene, task, parsed.answer, physics) : NOTHING_PLACED
  return {
    answer: parsed.text,
    parse_error: parsed.ok ? null : parsed.error,
    ...judged,
    ...paperReward({ task, outcome: judged.outcome, distance_world: judged.distance_world }),
  }
}

type Judged = Pick<Score, 'dx' | 'dy' | 'placed' | 'settled' | 'outcome' | 'distance_world'>

const NOTHING_PLACED: Judged = {
  dx: null,
  dy: null,
  placed: null,
  settled: null,
  outcome: 'non_parseable',
  distance_world: null,
}

function judge(scene: SceneFacts, task: Task, answer: Answer, physics: Physics): Judged {
  if (answer.kind === 'judgement') {
    return { ...NOTHING_PLACED, outcome: answer.yes === scene.is_stable ? 'correct' : 'incorrect' }
  }
  const { dx, dy } = answer
  const placement = placeMovedBlock(scene, task, answer)
  const { outcome, settled } = physics.settle(placement)
  const error_x = dx - scene.optimal_move.dx_units
  const error_y = task === 'x_y' ? dy - scene.optimal_move.dy_units : 0
  const distance_world = Math.sqrt(error_x * error_x + error_y * error_y) / UNITS_PER_WORLD
  return { dx, dy, placed: placedPosition(placement), settled, outcome, distance_world }
}
