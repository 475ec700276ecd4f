/**
 * Divides scenes into training and test splits. A scene's *content key* is everything that its answers depend on
 * (dataset, number of blocks, signed offset); `splitOf` maps each content key to exactly one split, so the splits are
 * disjoint by construction. The paper does not describe its splits: the plan is inferred and configurable.
 */

import { murmur3 } from './random.ts'
import type { Dataset } from './task.ts'
import { EDGE_UNITS } from './task.ts'

export type Split = 'train' | 'test_iid' | 'test_offset' | 'test_height' | 'test_appearance'

export const SPLITS: readonly Split[] = ['train', 'test_iid', 'test_offset', 'test_height', 'test_appearance']

export interface SplitPlan {
  /** Number of blocks that occurs only in `test_height`; null trains on every height, as the paper does. */
  readonly held_out_height: number | null
  /** The part of every range of |offset| that occurs only in `test_offset`, as fractions of the range; null: none. */
  readonly held_out_band: readonly [number, number] | null
  /** Shares of the remaining content keys, chosen by their hash. */
  readonly test_iid_share: number
  readonly test_appearance_share: number
  /** Hues, in degrees, from low up to but not including high, that only the blocks of `test_appearance` have. */
  readonly held_out_hues: readonly [number, number]
}

/**
 * Inferred. Height 3 is held out rather than 4, so that training spans the paper's two to four blocks. The middle fifth
 * of each offset range is held out, so that the test interpolates. The hues, green to blue, have names of their own.
 */
export const DEFAULT_SPLIT_PLAN: SplitPlan = {
  held_out_height: 3,
  held_out_band: [0.4, 0.6],
  test_iid_share: 0.1,
  test_appearance_share: 0.1,
  held_out_hues: [150, 210],
}

/** One range of |offset| in answer units, both ends included, with the label of its scenes. */
export interface OffsetRange {
  readonly low: number
  readonly high: number
  readonly is_stable: boolean
}

/**
 * Offsets of the misplaced block. Inferred (design §7): on top, stable up to 0.48 edges and unstable from 0.52 to
 * 0.95 edges, so that no tower is close to tipping; 0 is left out because the paper's block is always displaced.
 * On the floor, 0.3 to 0.6 world units, which is always stable.
 */
export const OFFSET_RANGES: Readonly<Record<Dataset, readonly OffsetRange[]>> = {
  top_block: [
    { low: 1, high: Math.floor(0.48 * EDGE_UNITS), is_stable: true },
    { low: Math.ceil(0.52 * EDGE_UNITS), high: Math.floor(0.95 * EDGE_UNITS), is_stable: false },
  ],
  side_block: [{ low: 300, high: 600, is_stable: true }],
}

/** Total number of blocks in a scene, the misplaced one included (paper 1 §3.1: "stacks of 2-4"). */
export const HEIGHTS: readonly number[] = [2, 3, 4]

/** `dataset/height/offset`, the offset signed and in answer units: `top_block/3/-87`. */
export function contentKey(dataset: Dataset, height: number, offset_units: number): string {
  return `${dataset}/${height}/${offset_units}`
}

/**
 * The one split that a content key belongs to. Offsets of equal size to the left and to the right share a split, so
 * that no test scene is the mirror image of a training scene.
 */
export function splitOf(
  dataset: Dataset,
  height: number,
  offset_units: number,
  plan: SplitPlan = DEFAULT_SPLIT_PLAN,
): Split {
  const size = Math.abs(offset_units)
  if (height === plan.held_out_height) return 'test_height'
  if (isInBand(dataset, size, plan)) return 'test_offset'
  const share = murmur3(contentKey(dataset, height, size), 0) / 2 ** 32
  if (share < plan.test_iid_share) return 'test_iid'
  if (share < plan.test_iid_share + plan.test_appearance_share) return 'test_appearance'
  return 'train'
}

/** The values of |offset| in `range` that belong to `split`, ascending. */
export function offsetsOf(
  dataset: Dataset,
  height: number,
  range: OffsetRange,
  split: Split,
  plan: SplitPlan,
): number[] {
  const sizes: number[] = []
  for (let size = range.low; size <= range.high; size++) {
    if (splitOf(dataset, height, size, plan) === split) sizes.push(size)
  }
  return sizes
}

/** Whether `split` may colour a block with `hue` (0 … 359 degrees): `test_appearance` has the held-out band to itself. */
export function allowsHue(split: Split, hue: number, plan: SplitPlan): boolean {
  const isHeldOut = hue >= plan.held_out_hues[0] && hue < plan.held_out_hues[1]
  return isHeldOut === (split === 'test_appearance')
}

function isInBand(dataset: Dataset, size: number, plan: SplitPlan): boolean {
  if (plan.held_out_band === null) return false
  const range = OFFSET_RANGES[dataset].find((candidate) => size >= candidate.low && size <= candidate.high)
  if (range === undefined) return false
  const fraction = (size - range.low) / (range.high - range.low)
  return fraction >= plan.held_out_band[0] && fraction <= plan.held_out_band[1]
}
