/**
 * Where an answer puts the misplaced block, and the outcome that geometry alone predicts: the oracle for testing the
 * physics.
 */

import type { SceneFacts } from './scene.ts'
import type { Task } from './task.ts'
import { assertLegalPair, EDGE_UNITS, UNITS_PER_WORLD } from './task.ts'

/** A block above, inside or next to a tower, before it is released; integers, so that equality is exact. */
export interface Placement {
  /** Blocks in the tower without the moved one. */
  readonly tower_blocks: number
  /** x of the moved block's centre from the tower's axis, in answer units. */
  readonly x_units: number
  /** Height of the moved block's lower face above the floor, in answer units. */
  readonly bottom_units: number
}

/** The centre of a block in the tower's plane (z = 0), in world units. */
export interface Position {
  readonly x: number
  readonly y: number
}

/** The result of placing a block (design §7). */
export type WorldOutcome = 'below_floor' | 'inside_tower' | 'unstable' | 'stable'

/** A block that overlaps the tower by no more than this, in answer units, counts as touching it (design §7). */
export const TOLERANCE_UNITS = 2

/**
 * Where `move` puts the scene's misplaced block. In top block it slides at its own height; in side block, x-only lifts
 * it to the tower's top and x-y moves it from the floor. Binary stability moves nothing: the block stays as shown.
 *
 * @throws RangeError when the scene's dataset does not have the task.
 */
export function placeMovedBlock(
  scene: SceneFacts,
  task: Task,
  move: { readonly dx: number; readonly dy: number },
): Placement {
  assertLegalPair(scene.dataset, task)
  const tower_blocks = scene.height - 1
  const top_units = tower_blocks * EDGE_UNITS
  if (task === 'binary_stability') return { tower_blocks, x_units: scene.offset_units, bottom_units: top_units }
  const x_units = scene.offset_units + move.dx
  return { tower_blocks, x_units, bottom_units: task === 'x_y' ? move.dy : top_units }
}

/** The placed block's centre in world units. */
export function placedPosition(placement: Placement): Position {
  return {
    x: placement.x_units / UNITS_PER_WORLD,
    y: (placement.bottom_units + EDGE_UNITS / 2) / UNITS_PER_WORLD,
  }
}

/** The kind of a placement that no simulation can start from, or null. Defines `below_floor` and `inside_tower`. */
export function impossiblePlacement(placement: Placement): 'below_floor' | 'inside_tower' | null {
  if (placement.bottom_units < 0) return 'below_floor'
  const depth_x = EDGE_UNITS - Math.abs(placement.x_units)
  const depth_y = placement.tower_blocks * EDGE_UNITS - placement.bottom_units
  return Math.min(depth_x, depth_y) > TOLERANCE_UNITS ? 'inside_tower' : null
}

/** Whether part of the tower's top face is directly below the placed block. */
export function isOverTower(placement: Placement): boolean {
  const isHighEnough = placement.bottom_units >= placement.tower_blocks * EDGE_UNITS - TOLERANCE_UNITS
  return isHighEnough && Math.abs(placement.x_units) < EDGE_UNITS
}

/**
 * The geometric rule: a block comes to rest on a tower of aligned equal blocks if and only if its centre of mass is over
 * the top face, |x| < edge / 2. (The block and the k blocks below it have their joint centre of mass at x / (k + 1), so
 * the top interface always fails first.) At |x| = edge / 2 exactly it balances on the edge and counts as falling.
 */
export function geometricOutcome(placement: Placement): WorldOutcome {
  const impossible = impossiblePlacement(placement)
  if (impossible !== null) return impossible
  return isOverTower(placement) && Math.abs(placement.x_units) < EDGE_UNITS / 2 ? 'stable' : 'unstable'
}
