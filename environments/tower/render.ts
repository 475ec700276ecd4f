/**
 * Renders a scene: 256 × 256 pixels, RGB, 8 bits, bit-identical on every machine.
 */

import { createHash } from 'node:crypto'
import { CENTRE_COLUMN, FOCAL, floorDepth, HEIGHT, WIDTH } from './camera.ts'
import { Rasteriser } from './rasteriser.ts'
import type { Block, Scene } from './scene.ts'
import type { ShadowTable } from './shadow.ts'
import { FLOOR_FIRST_ROW, FLOOR_ROWS, SHADOW_COLUMNS, SHADOW_LEFT, SHADOW_STEP, shadowOf } from './shadow.ts'
import type { Strokes } from './strokes.ts'
import { EDGE_UNITS, EDGE_WORLD, UNITS_PER_WORLD } from './task.ts'
import { backdrop } from './texture.ts'

export { HEIGHT, WIDTH } from './camera.ts'

/** Maximum darkness of a shadow, of 256: ambient light reaches every point. */
const DARKEST = 176
/** Fixed point with 16 fractional bits, for positions in a shadow's table. */
const ONE = 65_536

/** Everything that pictures share, built for the first one in about 0.3 s. */
class Studio {
  readonly rasteriser = new Rasteriser()
  readonly #backdrop = backdrop()
  readonly #stages = new Map<number, Stage>()
  readonly #shadows = new Map<number, ShadowTable>()

  /** The table and the wall with the shadow of a tower of `levels` blocks, but without the tower. */
  stage(levels: number): Stage {
    let stage = this.#stages.get(levels)
    if (stage === undefined) {
      const pixels = this.#backdrop.slice()
      const floor = packedFloor(this.#backdrop)
      castShadow(pixels, floor, shadowOf(0, levels * EDGE_WORLD), 0)
      addDarkness(floor, shadowOf(0, levels * EDGE_WORLD))
      const strokes = this.rasteriser.recordTower(Array.from({ length: levels }, (_, level) => plainBlock(level)))
      stage = { pixels, floor, strokes }
      this.#stages.set(levels, stage)
    }
    return stage
  }

  /** Adds the shadow of one block to a picture that began as `stage`. */
  addShadow(pixels: Uint8Array<ArrayBuffer>, stage: Stage, block: Block): void {
    const bottom = block.y - block.edge / 2
    let shadow = this.#shadows.get(bottom)
    if (shadow === undefined) {
      shadow = shadowOf(bottom, bottom + block.edge)
      this.#shadows.set(bottom, shadow)
    }
    castShadow(pixels, stage.floor, shadow, block.x)
  }
}

interface Stage {
  readonly pixels: Uint8Array<ArrayBuffer>
  /**
   * The floor's pixels, [FLOOR_ROWS, WIDTH]: red, green and blue without any shadow, from the lowest byte up; in the
   * highest byte, the darkness of the tower's shadow, of 256.
   */
  readonly floor: Uint32Array
  /** How to draw the tower. */
  readonly strokes: Strokes
}

let studio: Studio | undefined

/**
 * The picture of a scene, [HEIGHT, WIDTH, 3] row by row. Costs a copy of a prepared backdrop, the misplaced block's
 * shadow, and the pixels of the blocks. Pass `into` to reuse a buffer in a loop.
 *
 * @throws RangeError when `moved_block` is not an index of a block, or `into` does not have WIDTH · HEIGHT · 3 bytes.
 */
export function renderScene(
  scene: Pick<Scene, 'blocks' | 'moved_block'>,
  into: Uint8Array<ArrayBuffer> = new Uint8Array(WIDTH * HEIGHT * 3),
): Uint8Array<ArrayBuffer> {
  studio ??= new Studio()
  const moved = scene.blocks[scene.moved_block]
  if (moved === undefined)
    throw new RangeError(
      `renderScene: moved_block: expected an index below ${scene.blocks.length}, got ${scene.moved_block}`,
    )
  if (into.length !== WIDTH * HEIGHT * 3)
    throw new RangeError(`renderScene: into: expected ${WIDTH * HEIGHT * 3} bytes, got ${into.length}`)
  const stage = studio.stage(scene.blocks.length - 1)
  into.set(stage.pixels)
  studio.addShadow(into, stage, moved)
  // Draw from the sides to the middle and from the floor up, so that a block is drawn after those it can hide.
  const isBeside = moved.y < EDGE_WORLD
  const isLast = scene.moved_block === scene.blocks.length - 1
  if (isLast && isPlainTower(scene.blocks) && (!isBeside || Math.abs(moved.x) >= CLEAR_OF_TOWER)) {
    studio.rasteriser.beginWith(into, stage.strokes, scene.blocks.slice(0, -1))
    studio.rasteriser.drawLastCube(moved, scene.moved_block)
    return into
  }
  studio.rasteriser.begin(into)
  if (isBeside) studio.rasteriser.drawCube(moved, scene.moved_block)
  for (const [index, block] of scene.blocks.entries()) {
    if (index !== scene.moved_block) studio.rasteriser.drawCube(block, index)
  }
  if (!isBeside) studio.rasteriser.drawCube(moved, scene.moved_block)
  return into
}

/** From this |x| on, in world units, a block on the floor shares no pixel with the tower: the order does not matter. */
const CLEAR_OF_TOWER = 0.29

/** The block of a tower at `level`, uncoloured. */
function plainBlock(level: number): Block {
  const y = (level * EDGE_UNITS + EDGE_UNITS / 2) / UNITS_PER_WORLD
  return { x: 0, y, z: 0, edge: EDGE_WORLD, colour: [] }
}

/** Whether all blocks but the last form the standard tower of aligned blocks, from the floor up. */
function isPlainTower(blocks: readonly Block[]): boolean {
  for (let level = 0; level < blocks.length - 1; level++) {
    const { x, y, z, edge } = blocks[level] as Block
    if (x !== 0 || z !== 0 || edge !== EDGE_WORLD || y !== (level * EDGE_UNITS + EDGE_UNITS / 2) / UNITS_PER_WORLD)
      return false
  }
  return true
}

/** SHA-256 of a picture's pixels, in hexadecimal. */
export function pixelHash(pixels: Uint8Array): string {
  return createHash('sha256').update(pixels).digest('hex')
}

/** A stage's floor without shadows. */
function packedFloor(backdrop: Uint8Array): Uint32Array {
  const floor = new Uint32Array(FLOOR_ROWS * WIDTH)
  let byte = FLOOR_FIRST_ROW * WIDTH * 3
  for (let pixel = 0; pixel < floor.length; pixel++, byte += 3) {
    const [red = 0, green = 0, blue = 0] = backdrop.subarray(byte, byte + 3)
    floor[pixel] = red | (green << 8) | (blue << 16)
  }
  return floor
}

/** The part of a floor row under a shadow: its first and last pixel of the floor, and their positions in the table. */
interface ShadowSpan {
  first: number
  last: number
  /** Table entry at the first pixel, and the step to the next pixel's, in fixed point. */
  along: number
  step: number
}

const span: ShadowSpan = { first: 0, last: -1, along: 0, step: 0 }

/** Fills in `span` for `row` of the floor and a box at `x`; empty if last < first. */
function findSpan(shadow: ShadowTable, row: number, x: number): ShadowSpan {
  const firstEntry = shadow.first[row] as number
  const lastEntry = shadow.last[row] as number
  // Entry e of the table lies at the floor's x = x of the box + SHADOW_LEFT + (e + ½) · SHADOW_STEP.
  const worldPerPixel = floorDepth(FLOOR_FIRST_ROW + row) / FOCAL
  const entriesPerPixel = worldPerPixel / SHADOW_STEP
  const entryOfZero = ((0.5 - CENTRE_COLUMN) * worldPerPixel - x - SHADOW_LEFT) / SHADOW_STEP
  const first = Math.max(0, Math.ceil((firstEntry - entryOfZero) / entriesPerPixel))
  const last = Math.min(WIDTH - 1, Math.floor((lastEntry - entryOfZero) / entriesPerPixel))
  span.first = row * WIDTH + first
  span.last = firstEntry > lastEntry ? -1 : row * WIDTH + last
  span.along = Math.floor((entryOfZero + first * entriesPerPixel) * ONE)
  span.step = Math.floor(entriesPerPixel * ONE)
  return span
}

/**
 * Adds the shadow of a box at `x` to the darkness that the floor already has. Two shadows add up, to at most DARKEST,
 * because the parts of the sun that two blocks hide rarely overlap.
 */
function castShadow(pixels: Uint8Array<ArrayBuffer>, floor: Uint32Array, shadow: ShadowTable, x: number): void {
  const { darkness } = shadow
  const bytes = new DataView(pixels.buffer, pixels.byteOffset, pixels.length)
  for (let row = 0; row < FLOOR_ROWS; row++) {
    const { first, last, along, step } = findSpan(shadow, row, x)
    if (last < first) continue
    const table = row * SHADOW_COLUMNS
    let entry = along
    let byte = (FLOOR_FIRST_ROW * WIDTH + first) * 3
    // Write four bytes at once: the fourth belongs to the next pixel, which is drawn next.
    for (let pixel = first; pixel < last; pixel++, byte += 3, entry += step) {
      bytes.setUint32(byte, shaded(floor[pixel] as number, darkness[table + (entry >> 16)] as number), true)
    }
    const colour = shaded(floor[last] as number, darkness[table + (entry >> 16)] as number)
    pixels[byte] = colour & 255
    pixels[byte + 1] = (colour >> 8) & 255
    pixels[byte + 2] = colour >> 16
  }
}

/** A pixel of a stage's floor under one more shadow. */
function shaded(floor: number, darkness: number): number {
  const light = 256 - Math.min(DARKEST, (floor >>> 24) + darkness)
  // Red and blue in one multiplication: they cannot overflow into each other.
  const redAndBlue = (Math.imul(floor & 0xff00ff, light) >>> 8) & 0xff00ff
  return redAndBlue | (Math.imul((floor >>> 8) & 255, light) & 0xff00)
}

/** Stores the darkness of the tower's shadow in a stage's floor. */
function addDarkness(floor: Uint32Array, shadow: ShadowTable): void {
  for (let row = 0; row < FLOOR_ROWS; row++) {
    const { first, last, along, step } = findSpan(shadow, row, 0)
    for (let pixel = first, entry = along; pixel <= last; pixel++, entry += step) {
      const dark = Math.min(DARKEST, shadow.darkness[row * SHADOW_COLUMNS + (entry >> 16)] as number)
      floor[pixel] = ((floor[pixel] as number) | (dark << 24)) >>> 0
    }
  }
}
