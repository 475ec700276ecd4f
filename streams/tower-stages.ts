import type { Stage } from '../processors/processor.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import { stage } from './domain.ts'

/** What scores the answers about towers. */
export async function towerStages(): Promise<readonly Stage[]> {
  const scorer = await paperScorer()
  return [stage(scoreCompletions(scorer), () => scoreCompletions(scorer))]
}
