import { towerOrigin } from '../../schemas/events/tower-origin.ts'
import type { Fold } from '../processor.ts'
import { scoring } from '../scoring.ts'
import { type Scorer, scoreOf } from './scored-row.ts'

/** Scores completions about towers: emits one `tower.completions_scored` for every sampled event. */
export function scoreCompletions(scorer: Scorer): Fold {
  return scoring({
    version: 3,
    about: 'the physics and the reward of each completion',
    variant: [scorer.reward_name, `v${scorer.reward_version}`],
    origin: towerOrigin,
    score: ({ start, task }, text) => scoreOf(scorer, start, task, text),
  })
}
