/**
 * Tower scenes (paper 1 §3.1): a tower of perfectly stacked cubes and one misplaced cube, on top of it (`top_block`) or
 * on the floor next to it (`side_block`).
 *
 * World units: x to the right, y up, z towards the camera, floor at y = 0, tower centred on x = z = 0. Answer units are
 * integers of 0.001 world units.
 */

import type { Random } from './random.ts'
import { random } from './random.ts'
import type { OffsetRange, Split, SplitPlan } from './splits.ts'
import { allowsHue, contentKey, DEFAULT_SPLIT_PLAN, HEIGHTS, OFFSET_RANGES, offsetsOf, SPLITS } from './splits.ts'
import type { Dataset } from './task.ts'
import { DATASETS, EDGE_UNITS, EDGE_WORLD, UNITS_PER_WORLD } from './task.ts'
import { SIMULATOR_VERSION } from './version.ts'

/** r, g, b, each 0 … 255, sRGB. */
export type Colour = readonly number[]

/** A cube: its centre and edge in world units. */
export interface Block {
  readonly x: number
  readonly y: number
  readonly z: number
  readonly edge: number
  readonly colour: Colour
}

/** A scene as recorded: plain JSON. */
export interface Scene {
  readonly dataset: Dataset
  readonly split: Split
  readonly seed: string
  readonly index: number
  /** Number of blocks, the misplaced one included. */
  readonly height: number
  /** The tower from the floor up, then the misplaced block. */
  readonly blocks: readonly Block[]
  /** Index of the misplaced block in `blocks`. */
  readonly moved_block: number
  /** Signed x of the misplaced block from the tower's axis, in world units and in answer units. */
  readonly offset_world: number
  readonly offset_units: number
  /** How far the misplaced block's centre of mass lies inside (+) or outside (−) the edge that supports it, world units. */
  readonly com_margin_world: number
  /** Whether the scene as shown is stable. */
  readonly is_stable: boolean
  /** The move that puts the misplaced block centrally on top, in answer units. */
  readonly optimal_move: { readonly dx_units: number; readonly dy_units: number }
  /** World units per answer unit. */
  readonly unit: number
  readonly content_key: string
  readonly simulator_version: string
}

/** The part of a scene that a policy or a scorer needs; recorded scenes have it too. */
export type SceneFacts = Pick<Scene, 'dataset' | 'height' | 'offset_units' | 'is_stable' | 'optimal_move'>

export interface SceneRequest {
  readonly dataset: Dataset
  readonly split: Split
  readonly seed: string
  /** Position in the sequence of scenes of (dataset, split, seed): 0, 1, 2, … */
  readonly index: number
  readonly plan?: SplitPlan
}

/** A cell of the stratified design; the numbers of a sequence's scenes in any two cells differ by at most one. */
interface Stratum {
  readonly height: number
  readonly side: -1 | 1
  readonly range: OffsetRange
}

/**
 * Scene `index` of a sequence: a pure function of its arguments.
 *
 * Labels are balanced exactly: the sequence is divided into rounds with one scene per cell (height × side × label), in
 * an order shuffled by the seed and the round's number. So any two cells' counts differ by at most one in any prefix,
 * the index does not reveal the label, and the height of a tower carries no information about stability.
 *
 * @throws RangeError when dataset, split or index is invalid, or when the plan leaves the split empty.
 */
export function sampleScene(request: SceneRequest): Scene {
  const { dataset, split, seed, index, plan = DEFAULT_SPLIT_PLAN } = request
  assertRequest(request)
  const strata = strataOf(dataset, split, plan)
  const round = Math.floor(index / strata.length)
  const order = random('strata', dataset, split, seed, round).shuffled(strata)
  const stratum = order[index % strata.length] as Stratum
  const stream = random('scene', dataset, split, seed, index)
  const sizes = sizesOf(dataset, stratum.height, stratum.range, split, plan)
  const offset_units = stratum.side * (sizes[stream.integer(0, sizes.length - 1)] as number)
  const colours = Array.from({ length: stratum.height }, () => drawColour(stream, split, plan))
  return composeScene({ dataset, split, seed, index, height: stratum.height, offset_units, colours })
}

/** The parts that determine a scene; the rest of `Scene` follows from them. */
export interface SceneParts {
  readonly dataset: Dataset
  readonly split: Split
  readonly seed: string
  readonly index: number
  readonly height: number
  readonly offset_units: number
  /** One colour per block, the tower's from the floor up, then the misplaced block's. */
  readonly colours: readonly Colour[]
}

/** Builds the scene with the given parts, without checking that they belong to the split. */
export function composeScene(parts: SceneParts): Scene {
  const { dataset, split, seed, index, height, offset_units, colours } = parts
  const top = height - 1
  const blocks = colours.map((colour, level): Block => {
    const isMoved = level === top
    const x = isMoved ? offset_units / UNITS_PER_WORLD : 0
    const floor_units = isMoved && dataset === 'side_block' ? 0 : level * EDGE_UNITS
    return { x, y: (floor_units + EDGE_UNITS / 2) / UNITS_PER_WORLD, z: 0, edge: EDGE_WORLD, colour }
  })
  const margin_units = dataset === 'top_block' ? EDGE_UNITS / 2 - Math.abs(offset_units) : EDGE_UNITS / 2
  return {
    dataset,
    split,
    seed,
    index,
    height,
    blocks,
    moved_block: top,
    offset_world: offset_units / UNITS_PER_WORLD,
    offset_units,
    com_margin_world: margin_units / UNITS_PER_WORLD,
    is_stable: margin_units > 0,
    optimal_move: { dx_units: 0 - offset_units, dy_units: dataset === 'top_block' ? 0 : top * EDGE_UNITS },
    unit: 1 / UNITS_PER_WORLD,
    content_key: contentKey(dataset, height, offset_units),
    simulator_version: SIMULATOR_VERSION,
  }
}

/** The number of cells (height × side × label): each round of that many scenes visits every cell once. */
export function strataCount(dataset: Dataset, split: Split, plan: SplitPlan = DEFAULT_SPLIT_PLAN): number {
  return strataOf(dataset, split, plan).length
}

const strataByPlan = new WeakMap<SplitPlan, Map<string, readonly Stratum[]>>()
const sizesByPlan = new WeakMap<SplitPlan, Map<string, readonly number[]>>()

function strataOf(dataset: Dataset, split: Split, plan: SplitPlan): readonly Stratum[] {
  return remembered(strataByPlan, plan, `${dataset}/${split}`, () => {
    const strata: Stratum[] = []
    for (const height of HEIGHTS) {
      if ((height === plan.held_out_height) !== (split === 'test_height')) continue
      for (const range of OFFSET_RANGES[dataset]) {
        if (sizesOf(dataset, height, range, split, plan).length === 0) {
          const label = range.is_stable ? 'stable' : 'unstable'
          throw new RangeError(
            `split ${split} of ${dataset}: expected at least one ${label} offset at height ${height}, got none; widen the split plan: ${JSON.stringify(plan)}`,
          )
        }
        strata.push({ height, side: -1, range }, { height, side: 1, range })
      }
    }
    if (strata.length === 0)
      throw new RangeError(`split ${split} of ${dataset}: the split plan leaves it no height: ${JSON.stringify(plan)}`)
    return strata
  })
}

function sizesOf(
  dataset: Dataset,
  height: number,
  range: OffsetRange,
  split: Split,
  plan: SplitPlan,
): readonly number[] {
  return remembered(sizesByPlan, plan, `${dataset}/${split}/${height}/${range.low}`, () =>
    offsetsOf(dataset, height, range, split, plan),
  )
}

function remembered<T>(byPlan: WeakMap<SplitPlan, Map<string, T>>, plan: SplitPlan, key: string, make: () => T): T {
  let byKey = byPlan.get(plan)
  if (byKey === undefined) {
    byKey = new Map()
    byPlan.set(plan, byKey)
  }
  let value = byKey.get(key)
  if (value === undefined) {
    value = make()
    byKey.set(key, value)
  }
  return value
}

/** Any hue that the split allows, saturation 55 … 85 %, value 65 … 95 % (inferred: bright, never white or black). */
function drawColour(stream: Random, split: Split, plan: SplitPlan): Colour {
  let hue = stream.integer(0, 359)
  while (!allowsHue(split, hue, plan)) hue = stream.integer(0, 359)
  return hsvToRgb(hue, stream.integer(55, 85), stream.integer(65, 95))
}

/**
 * HSV to 8-bit RGB (Smith, "Color gamut transform pairs", SIGGRAPH 1978).
 * Hue in whole degrees, saturation and value in per cent.
 */
function hsvToRgb(hue: number, saturation: number, value: number): Colour {
  const channel = (turn: number) => {
    const position = (turn + hue / 60) % 6
    const falloff = Math.max(0, Math.min(position, 4 - position, 1))
    return Math.round((255 * value * (100 - saturation * falloff)) / 10_000)
  }
  return [channel(5), channel(3), channel(1)]
}

function assertRequest({ dataset, split, index }: SceneRequest): void {
  if (!DATASETS.includes(dataset))
    throw new RangeError(`dataset: expected one of ${DATASETS.join(', ')}, got ${JSON.stringify(dataset)}`)
  if (!SPLITS.includes(split))
    throw new RangeError(`split: expected one of ${SPLITS.join(', ')}, got ${JSON.stringify(split)}`)
  if (!Number.isSafeInteger(index) || index < 0)
    throw new RangeError(`index: expected an integer of at least 0, got ${index}`)
}
