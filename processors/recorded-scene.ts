import type { SceneFacts } from '../environments/tower/scene.ts'
import type { RowOf } from '../schemas/declare/logical-types.ts'
import type { sceneFields } from '../schemas/events/tower.ts'
import { InvariantError } from './processor.ts'

export type RecordedScene = RowOf<typeof sceneFields>

/**
 * The paper's towers have up to four blocks. Each block slows down the physics (inferred: a second at this height); at
 * the largest number that a request allows, it would not end.
 */
const TALLEST_TOWER = 32

/**
 * A recorded scene as a generated tower.
 *
 * @throws InvariantError when it is a photograph, its geometry is missing, or it is too tall.
 */
export function towerOf(scene: RecordedScene): SceneFacts {
  const { scene_id, dataset, height, offset_units, is_stable, optimal_move } = scene
  if (dataset === 'lerer' || height === null || offset_units === null || optimal_move === null) {
    throw new InvariantError(
      `scene ${scene_id} (${dataset}): expected a generated tower with height, offset and optimal move, got one without`,
    )
  }
  if (height > TALLEST_TOWER) {
    throw new InvariantError(`scene ${scene_id}: height ${height}: expected at most ${TALLEST_TOWER} blocks`)
  }
  return { dataset, height, offset_units, is_stable, optimal_move }
}
