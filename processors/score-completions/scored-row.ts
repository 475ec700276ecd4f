import type { DataOf } from '../../schemas/declare/event.ts'
import type { completionsScored } from '../../schemas/events/tower.ts'
import type { RecordedScene } from '../recorded-scene.ts'

export type ScoredRow = DataOf<typeof completionsScored>[number]

/** The result of one completion: the columns of `tower.completions_scored` that a scorer computes. */
export type Score = Pick<
  ScoredRow,
  | 'answer'
  | 'parse_error'
  | 'dx'
  | 'dy'
  | 'placed'
  | 'settled'
  | 'outcome'
  | 'distance_world'
  | 'reward'
  | 'reward_components'
>

/** A reward function together with its physics. */
export interface Scorer {
  readonly reward_name: string
  readonly reward_version: number
  readonly physics_engine: string
  readonly physics_version: string
  score(scene: RecordedScene, task: ScoredRow['task'], text: string): Score
}

const FAILED: Score = {
  answer: null,
  parse_error: null,
  dx: null,
  dy: null,
  placed: null,
  settled: null,
  outcome: null,
  distance_world: null,
  reward: null,
  reward_components: {},
}

/** What a completion is worth. If the scorer throws, the reward is null: never 0 or −5. */
export function scoreOf(
  scorer: Scorer,
  scene: RecordedScene,
  task: ScoredRow['task'],
  text: string,
): Omit<ScoredRow, 'group_id' | 'completion_index' | 'attempt_id' | 'sampled_id'> {
  const { reward_name, reward_version, physics_engine, physics_version } = scorer
  let score = FAILED
  let scorer_error: string | null = null
  try {
    score = scorer.score(scene, task, text)
  } catch (error) {
    scorer_error = error instanceof Error ? error.message : String(error)
  }
  return {
    scene_id: scene.scene_id,
    task,
    ...score,
    reward_name,
    reward_version,
    physics_engine,
    physics_version,
    scorer_error,
  }
}
