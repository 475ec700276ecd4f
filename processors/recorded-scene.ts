import type { SceneFacts } from '../environments/tower/scene.ts'
import type { RowOfEvent } from '../schemas/event.ts'
import type { rolloutRequested } from '../schemas/rollout.ts'
import { InvariantError } from './processor.ts'

export type RecordedScene = RowOfEvent<typeof rolloutRequested>['scene']

/**
 * The generated tower that a recorded scene is.
 *
 * @throws InvariantError when its geometry is missing: only a photograph may do without.
 */
export function towerOf(scene: RecordedScene): SceneFacts {
  const { scene_id, dataset, height, offset_units, is_stable, optimal_move } = scene
  if (dataset === 'lerer' || height === null || offset_units === null || optimal_move === null) {
    throw new InvariantError(
      `scene ${scene_id} (${dataset}): expected a generated tower with height, offset and optimal move, got one without`,
    )
  }
  return { dataset, height, offset_units, is_stable, optimal_move }
}
