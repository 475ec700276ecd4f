import { formGroups } from '../../processors/form-groups/form-groups.ts'
import type { Processor } from '../../processors/processor.ts'
import { paperScorer } from '../../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../../processors/score-completions/score-completions.ts'
import { completionsScored } from '../../schemas/events/tower.ts'

/** The stages of the tower loop that the topology's benchmark runs: scoring and grouping. */
export const stages = async (): Promise<readonly [score: Processor, form: Processor]> => [
  scoreCompletions(await paperScorer()),
  formGroups({ dialect: 'paper', scored: [completionsScored] }),
]
