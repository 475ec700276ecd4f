/**
 * Soft shadows of upright boxes on the floor.
 *
 * The darkness of a floor point depends only on its position relative to the box: on its row of the picture (its z) and
 * on x − x of the box. So each box has one table, computed once, of the share of a round sun and of the sky that it
 * hides; drawing a shadow only reads this table.
 */

import { EYE_DISTANCE, floorDepth, HEIGHT, WALL_ROW } from './camera.ts'
import { EDGE_WORLD } from './task.ts'

/** A table covers this range of x relative to the box's centre, in world units. */
export const SHADOW_LEFT = -0.75
const SHADOW_RIGHT = 1.05
export const SHADOW_COLUMNS = 1024
export const SHADOW_STEP = (SHADOW_RIGHT - SHADOW_LEFT) / SHADOW_COLUMNS
export const FLOOR_FIRST_ROW = Math.ceil(WALL_ROW)
export const FLOOR_ROWS = HEIGHT - FLOOR_FIRST_ROW

/** The sun's direction, scaled to y = 1: from the left, above, and in front. Shadows fall to the right and back. */
const SUN = { x: -0.5, z: 0.42 }
/** The sun's apparent radius, in the same scale: it makes shadows soft. */
const SUN_RADIUS = 0.075
/** Light on the floor from the whole sun and from the whole sky, of 256 (inferred: looks right). */
const SUN_SHARE = 92
const SKY_SHARE = 216
/** Subtracted from the sky's darkening, of 256: it fades out instead of ending abruptly at the table's border. */
const SKY_THRESHOLD = 12

export interface ShadowTable {
  /** Darkness, of 256, [FLOOR_ROWS, SHADOW_COLUMNS]. */
  readonly darkness: Uint8Array
  /** First and last non-zero column of each row; first > last in a row without shadow. */
  readonly first: Int16Array
  readonly last: Int16Array
}

/** The shadow on the floor of a box on EDGE × EDGE between heights `bottom` and `top`, in world units. */
export function shadowOf(bottom: number, top: number): ShadowTable {
  const darkness = new Uint8Array(FLOOR_ROWS * SHADOW_COLUMNS)
  const first = new Int16Array(FLOOR_ROWS).fill(SHADOW_COLUMNS)
  const last = new Int16Array(FLOOR_ROWS).fill(-1)
  for (let row = 0; row < FLOOR_ROWS; row++) {
    const z = EYE_DISTANCE - floorDepth(FLOOR_FIRST_ROW + row)
    const sun = hiddenShare(SUN_RAYS, z, bottom, top)
    const sky = hiddenShare(SKY_RAYS, z, bottom, top)
    for (let column = 0; column < SHADOW_COLUMNS; column++) {
      const ambient = Math.max(0, SKY_SHARE * (sky[column] as number) - SKY_THRESHOLD)
      const dark = Math.min(255, Math.round(SUN_SHARE * (sun[column] as number) + ambient))
      if (dark === 0) continue
      darkness[row * SHADOW_COLUMNS + column] = dark
      if (column < (first[row] as number)) first[row] = column
      last[row] = column
    }
  }
  return { darkness, first, last }
}

/** A direction towards the light, scaled to rise 1 for every world unit up. */
interface Ray {
  readonly x: number
  readonly z: number
}

const SUN_RAYS = discOf(12, SUN_RADIUS).map((ray) => ({ x: SUN.x + ray.x, z: SUN.z + ray.z }))
/** A point of the unit disc, lifted to the hemisphere above it, is a cosine-weighted direction (Malley's method). */
const SKY_RAYS = discOf(20, 1).map((ray) => {
  const up = Math.sqrt(1 - ray.x * ray.x - ray.z * ray.z)
  return { x: ray.x / up, z: ray.z / up }
})

/** The centres of an n × n grid's cells that lie in a disc. */
function discOf(n: number, radius: number): Ray[] {
  const rays: Ray[] = []
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const x = (2 * i + 1) / n - 1
      const z = (2 * j + 1) / n - 1
      if (x * x + z * z < 0.999) rays.push({ x: x * radius, z: z * radius })
    }
  }
  return rays
}

/**
 * The share of rays that the box hides from the points of the floor at depth `z`, per column of the table.
 *
 * A ray from (x, 0, z) is inside the box's slabs of y and z for heights t in [t0, t1]. It hits the box if its x, which
 * moves from x + ray.x · t0 to x + ray.x · t1, touches [−EDGE/2, EDGE/2]: true for one interval of x. The intervals of
 * all rays are summed.
 */
function hiddenShare(rays: readonly Ray[], z: number, bottom: number, top: number): Float64Array {
  const half = EDGE_WORLD / 2
  const share = new Float64Array(SHADOW_COLUMNS)
  for (const ray of rays) {
    let t0 = bottom
    let t1 = top
    if (ray.z === 0) {
      if (z < -half || z > half) continue
    } else {
      const back = (-half - z) / ray.z
      const front = (half - z) / ray.z
      t0 = Math.max(t0, Math.min(back, front))
      t1 = Math.min(t1, Math.max(back, front))
    }
    if (t0 >= t1) continue
    const left = -half - Math.max(ray.x * t0, ray.x * t1)
    const right = half - Math.min(ray.x * t0, ray.x * t1)
    addInterval(share, (left - SHADOW_LEFT) / SHADOW_STEP, (right - SHADOW_LEFT) / SHADOW_STEP, 1 / rays.length)
  }
  return share
}

/** Adds `weight` to the columns from `left` to `right`, in columns; those at the ends get the covered share of it. */
function addInterval(share: Float64Array, left: number, right: number, weight: number): void {
  const from = Math.max(0, Math.floor(left))
  const to = Math.min(SHADOW_COLUMNS, Math.ceil(right))
  for (let column = from; column < to; column++) {
    const covered = Math.min(right, column + 1) - Math.max(left, column)
    share[column] = (share[column] as number) + weight * covered
  }
}
