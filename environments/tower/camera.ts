/**
 * The one camera (paper 1 §3.1: "we keep the camera angle and block sizes fixed"; everything else is inferred).
 *
 * It stands in front of the tower and looks horizontally; its picture plane is shifted down, as in architectural
 * photography. The result is a true perspective from slightly above that does not distort planes parallel to the
 * picture: front faces are exact squares, and on their plane one answer unit is 0.17 pixels everywhere, across and up.
 *
 *   column = CENTRE_COLUMN + FOCAL · x / depth      row = HORIZON_ROW + FOCAL · (EYE_HEIGHT − y) / depth
 *
 * with depth = EYE_DISTANCE − z, lengths in world units, and pixel (i, j) covering [i, i+1) × [j, j+1).
 */

import { EDGE_WORLD } from './task.ts'

export const WIDTH = 256
export const HEIGHT = 256

/** The largest that fits: blocks reach ±0.725 world units, and 0.725 · 170 = 123 of the 128 pixels on either side. */
const PIXELS_PER_WORLD = 170
/** Distance of the eye from the tower's plane z = 0, and its height above the floor, in world units. */
export const EYE_DISTANCE = 2.1
export const EYE_HEIGHT = 1.3
/** Depth of the tower's front faces. */
export const FRONT_DEPTH = EYE_DISTANCE - EDGE_WORLD / 2
export const FOCAL = PIXELS_PER_WORLD * FRONT_DEPTH
export const CENTRE_COLUMN = WIDTH / 2
/** The row in which front faces meet the floor; above it is room for four blocks and a margin. */
const FLOOR_ROW = 226
export const HORIZON_ROW = FLOOR_ROW - PIXELS_PER_WORLD * EYE_HEIGHT

/** Depth of the wall behind the tower, and the row in which it meets the floor. */
const WALL_DEPTH = EYE_DISTANCE + 1.1
export const WALL_ROW = HORIZON_ROW + (FOCAL * EYE_HEIGHT) / WALL_DEPTH

/** Depth of the floor in the middle of `row`, in world units. */
export function floorDepth(row: number): number {
  return (FOCAL * EYE_HEIGHT) / (row + 0.5 - HORIZON_ROW)
}
