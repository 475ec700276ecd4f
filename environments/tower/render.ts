/**
 * Photographs a scene: 256 × 256 pixels, RGB, 8 bits, the same to the bit on every machine.
 */

import { createHash } from 'node:crypto'
import { CENTRE_COLUMN, FOCAL, floorDepth, HEIGHT, WIDTH } from './camera.ts'
import { Rasteriser } from './rasteriser.ts'
import type { Block, Scene } from './scene.ts'
import type { ShadowTable } from './shadow.ts'
import { FLOOR_FIRST_ROW, FLOOR_ROWS, SHADOW_COLUMNS, SHADOW_LEFT, SHADOW_STEP, shadowOf } from './shadow.ts'
import { EDGE_WORLD } from './task.ts'
import { backdrop } from './texture.ts'

export { HEIGHT, WIDTH } from './camera.ts'

/** No shadow is darker than this, of 256: some light comes from everywhere. */
const DARKEST = 176
/** Fixed point with 16 fractional bits, for positions in a shadow's table. */
const ONE = 65_536

/** Everything that pictures share, made for the first one, in about 0.3 s. */
class Studio {
  readonly rasteriser = new Rasteriser()
  readonly #backdrop = backdrop()
  readonly #stages = new Map<number, Stage>()
  readonly #shadows = new Map<number, ShadowTable>()

  /** The table and the wall with the shadow of a tower of `levels` blocks, but without the tower. */
  stage(levels: number): Stage {
    let stage = this.#stages.get(levels)
    if (stage === undefined) {
      const dark = new Uint8Array(FLOOR_ROWS * WIDTH)
      const pixels = this.#backdrop.slice()
      castShadow(pixels, this.#backdrop, dark, shadowOf(0, levels * EDGE_WORLD), 0, dark)
      stage = { pixels, dark }
      this.#stages.set(levels, stage)
    }
    return stage
  }

  /** Adds the shadow of one block to a picture that began as `stage`. */
  addShadow(pixels: Uint8Array, stage: Stage, block: Block): void {
    const bottom = block.y - block.edge / 2
    let shadow = this.#shadows.get(bottom)
    if (shadow === undefined) {
      shadow = shadowOf(bottom, bottom + block.edge)
      this.#shadows.set(bottom, shadow)
    }
    castShadow(pixels, this.#backdrop, stage.dark, shadow, block.x, null)
  }
}

interface Stage {
  readonly pixels: Uint8Array<ArrayBuffer>
  /** How dark the tower's shadow makes each pixel of the floor, of 256, [FLOOR_ROWS, WIDTH]. */
  readonly dark: Uint8Array
}

let studio: Studio | undefined

/**
 * The picture of a scene, [HEIGHT, WIDTH, 3] row by row. Costs a copy of a prepared backdrop, the shadow of the misplaced
 * block, and the pixels of the blocks. Draws into `into` where given, so that a loop need not allocate.
 *
 * @throws RangeError when `moved_block` is no block, or when `into` has not WIDTH · HEIGHT · 3 bytes.
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
  studio.rasteriser.begin(into)
  // From the sides to the middle and from the floor up: whatever can hide something is drawn after it.
  const isBeside = moved.y < EDGE_WORLD
  if (isBeside) studio.rasteriser.drawCube(moved, scene.moved_block)
  for (const [index, block] of scene.blocks.entries()) {
    if (index !== scene.moved_block) studio.rasteriser.drawCube(block, index)
  }
  if (!isBeside) studio.rasteriser.drawCube(moved, scene.moved_block)
  return into
}

/** SHA-256 of a picture's pixels, in hexadecimal. */
export function pixelHash(pixels: Uint8Array): string {
  return createHash('sha256').update(pixels).digest('hex')
}

/**
 * Darkens the floor by the shadow of a box at `x` on top of what is `dark` already. Two shadows add up, because the parts
 * of the sun that two blocks hide rarely overlap, up to DARKEST. Keeps the sum in `sums` where given.
 */
function castShadow(
  pixels: Uint8Array,
  unlit: Uint8Array,
  dark: Uint8Array,
  shadow: ShadowTable,
  x: number,
  sums: Uint8Array | null,
): void {
  const { darkness } = shadow
  for (let row = 0; row < FLOOR_ROWS; row++) {
    const firstEntry = shadow.first[row] as number
    const lastEntry = shadow.last[row] as number
    if (firstEntry > lastEntry) continue
    // Entry e of the table lies at the floor's x = x of the box + SHADOW_LEFT + (e + ½) · SHADOW_STEP.
    const worldPerPixel = floorDepth(FLOOR_FIRST_ROW + row) / FOCAL
    const entriesPerPixel = worldPerPixel / SHADOW_STEP
    const entryOfZero = ((0.5 - CENTRE_COLUMN) * worldPerPixel - x - SHADOW_LEFT) / SHADOW_STEP
    const first = Math.max(0, Math.ceil((firstEntry - entryOfZero) / entriesPerPixel))
    const last = Math.min(WIDTH - 1, Math.floor((lastEntry - entryOfZero) / entriesPerPixel))
    const table = row * SHADOW_COLUMNS
    const step = Math.floor(entriesPerPixel * ONE)
    let along = Math.floor((entryOfZero + first * entriesPerPixel) * ONE)
    let floorPixel = row * WIDTH + first
    let byte = (FLOOR_FIRST_ROW * WIDTH + floorPixel) * 3
    for (let column = first; column <= last; column++, floorPixel++, byte += 3, along += step) {
      const sum = (dark[floorPixel] as number) + (darkness[table + (along >> 16)] as number)
      const light = sum > DARKEST ? 256 - DARKEST : 256 - sum
      if (sums !== null) sums[floorPixel] = 256 - light
      pixels[byte] = ((unlit[byte] as number) * light) >> 8
      pixels[byte + 1] = ((unlit[byte + 1] as number) * light) >> 8
      pixels[byte + 2] = ((unlit[byte + 2] as number) * light) >> 8
    }
  }
}
