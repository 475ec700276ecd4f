import { defineOrigin } from './origin.ts'
import { completionsRescored } from './reward.ts'
import { completionsScored, TASKS, towerScene } from './tower.ts'

/** What a tower's rollouts ask for. */
export const towerOrigin = defineOrigin({
  name: 'tower',
  tasks: TASKS,
  start: towerScene,
  scored: completionsScored,
  scored_by: 'score-completions',
  rescored: { event: completionsRescored, by: 'rescore-completions' },
})
