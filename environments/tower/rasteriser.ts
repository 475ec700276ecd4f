/**
 * Draws textured cubes with a depth buffer and antialiased edges.
 *
 * Cubes are upright and the camera looks straight ahead (see `camera.ts`), so every face has lines of constant depth:
 * rows of a front or top face, columns of a side face. A face is drawn line by line, each in a loop without division.
 * Only + − × ÷ and integers are used, so the pixels are the same on every machine.
 */

import { CENTRE_COLUMN, EYE_DISTANCE, EYE_HEIGHT, FOCAL, FRONT_DEPTH, HEIGHT, HORIZON_ROW, WIDTH } from './camera.ts'
import { Paint, rangeOf } from './paint.ts'
import type { Block } from './scene.ts'
import { blendPixel, StrokeRecorder, type Strokes } from './strokes.ts'
import { faceTexture, TEXELS, VARIANTS } from './texture.ts'

/** Light on a face, of 256, by its orientation; right sides face away from the sun. */
const LIGHT = { front: 236, top: 292, left: 200, right: 136 }
const DEPTH_STEPS = 16_384
/** Added to a side's depth, in world units, so that the top is blended over it; cubes of a scene are 0.05 apart. */
const SIDE_BEHIND = 0.02
const FARTHEST = 65_535
/** Fixed point with 16 fractional bits, for positions in a texture. */
const ONE = 65_536

/** Draws into one picture at a time and reuses its buffers. */
export class Rasteriser {
  readonly #depths = new Uint16Array(WIDTH * HEIGHT)
  readonly #textures = Array.from({ length: VARIANTS }, (_, variant) => faceTexture(variant))
  readonly #texels = rangeOf(this.#textures)
  readonly #facePaint = new Paint()
  readonly #paints: Paint[] = []
  #pixels = new Uint8ClampedArray(0)
  #bytes = new DataView(new ArrayBuffer(0))
  #strokes: Strokes | undefined
  #texture = new Uint8Array(0)
  /** The current face is nearer than any other and is drawn last, so depths are neither read nor written. */
  #isForemost = false
  #recorder: StrokeRecorder | undefined

  /** Starts a picture: `pixels`, [HEIGHT, WIDTH, 3], contains the backdrop and is drawn on. */
  begin(pixels: Uint8Array<ArrayBuffer>): void {
    this.#take(pixels)
    this.#depths.fill(FARTHEST)
  }

  /** Starts a picture with a tower that `recordTower` recorded, in the colours of `tower`. */
  beginWith(pixels: Uint8Array<ArrayBuffer>, strokes: Strokes, tower: readonly Block[]): void {
    this.#take(pixels)
    const paints = this.#paints
    while (paints.length < tower.length * 2) paints.push(new Paint())
    for (const paint of strokes.paints) {
      const { colour } = tower[paint >> 1] as Block
      paints[paint]?.mix(colour, paint % 2 === 0 ? LIGHT.top : LIGHT.front, this.#texels)
    }
    strokes.draw(this.#pixels, this.#bytes, paints)
    this.#strokes = strokes
  }

  /** Records how to draw these cubes, from first to last; of each, only the top and the front may be visible. */
  recordTower(tower: readonly Block[]): Strokes {
    this.begin(new Uint8Array(WIDTH * HEIGHT * 3))
    this.#recorder = new StrokeRecorder()
    for (const [index, block] of tower.entries()) this.drawCube(block, index)
    const strokes = this.#recorder.finish(this.#depths.slice())
    this.#recorder = undefined
    return strokes
  }

  #take(pixels: Uint8Array<ArrayBuffer>): void {
    this.#pixels = new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.length)
    this.#bytes = new DataView(pixels.buffer, pixels.byteOffset, pixels.length)
  }

  /**
   * Draws a cube's visible faces. Nearer faces hide farther ones in any drawing order. Edges are blended with what is
   * already drawn, so they look best when farther cubes are drawn first.
   */
  drawCube(block: Block, variant: number): void {
    this.#drawFaces(block, variant, false)
  }

  /** Draws a cube as near as the tower, after `beginWith`; nothing may be drawn after it. */
  drawLastCube(block: Block, variant: number): void {
    // Copy depths only for the rows that the cube can reach; the rest are never read.
    const highest = HORIZON_ROW + (FOCAL * (EYE_HEIGHT - block.y - block.edge / 2)) / (FRONT_DEPTH + block.edge)
    const lowest = HORIZON_ROW + (FOCAL * (EYE_HEIGHT - block.y + block.edge / 2)) / FRONT_DEPTH
    const from = Math.max(0, Math.floor(Math.min(highest, lowest)) - 2) * WIDTH
    const to = Math.min(HEIGHT, Math.ceil(lowest) + 2) * WIDTH
    if (this.#strokes !== undefined) this.#depths.set(this.#strokes.depths.subarray(from, to), from)
    this.#drawFaces(block, variant, true)
    this.#isForemost = false
  }

  #drawFaces(block: Block, variant: number, isLast: boolean): void {
    this.#texture = this.#textures[variant % VARIANTS] as Uint8Array<ArrayBuffer>
    const half = block.edge / 2
    const left = block.x - half
    const right = block.x + half
    const top = block.y + half
    const bottom = block.y - half
    const near = EYE_DISTANCE - block.z - half
    const far = near + block.edge
    if (left > 0) {
      this.#paint(block, LIGHT.left)
      this.#drawSide(left, top, bottom, near, far)
    }
    if (right < 0) {
      this.#paint(block, LIGHT.right)
      this.#drawSide(right, top, bottom, near, far)
    }
    if (top < EYE_HEIGHT) {
      this.#paint(block, LIGHT.top)
      this.#drawTop(left, right, top, near, far)
    }
    this.#paint(block, LIGHT.front)
    this.#isForemost = isLast
    this.#drawFront(left, right, top, bottom, near)
  }

  #paint({ colour }: Block, light: number): void {
    this.#facePaint.mix(colour, light, this.#texels)
    this.#recorder?.nextPaint()
  }

  #drawFront(left: number, right: number, top: number, bottom: number, depth: number): void {
    const x0 = CENTRE_COLUMN + (FOCAL * left) / depth
    const x1 = CENTRE_COLUMN + (FOCAL * right) / depth
    const y0 = HORIZON_ROW + (FOCAL * (EYE_HEIGHT - top)) / depth
    const y1 = HORIZON_ROW + (FOCAL * (EYE_HEIGHT - bottom)) / depth
    const texelsPerPixel = TEXELS / (x1 - x0)
    const lastRow = Math.min(HEIGHT, Math.ceil(y1)) - 1
    for (let row = Math.max(0, Math.floor(y0)); row <= lastRow; row++) {
      const covered = Math.min(y1, row + 1) - Math.max(y0, row)
      const v = texelOf((row + 0.5 - y0) * texelsPerPixel)
      this.#drawLine(row * WIDTH, 1, WIDTH, x0, x0, x1, x1, covered, v * TEXELS, 1, depth)
    }
  }

  #drawTop(left: number, right: number, top: number, near: number, far: number): void {
    const drop = FOCAL * (EYE_HEIGHT - top)
    const y0 = HORIZON_ROW + drop / far
    const y1 = HORIZON_ROW + drop / near
    const lastRow = Math.min(HEIGHT, Math.ceil(y1)) - 1
    for (let row = Math.max(0, Math.floor(y0)); row <= lastRow; row++) {
      // Pixels per world unit at the row's upper edge, middle and lower edge, within the face.
      const upper = (Math.max(y0, row) - HORIZON_ROW) / (EYE_HEIGHT - top)
      const lower = (Math.min(y1, row + 1) - HORIZON_ROW) / (EYE_HEIGHT - top)
      const depth = (2 * FOCAL) / (upper + lower)
      // The row shared with the front face is covered in full, because the front face is blended over it.
      const covered = row === lastRow ? 1 : Math.min(1, row + 1 - y0)
      const v = texelOf(((far - depth) / (far - near)) * TEXELS)
      this.#drawLine(
        row * WIDTH,
        1,
        WIDTH,
        CENTRE_COLUMN + upper * left,
        CENTRE_COLUMN + lower * left,
        CENTRE_COLUMN + upper * right,
        CENTRE_COLUMN + lower * right,
        covered,
        v * TEXELS,
        1,
        depth,
      )
    }
  }

  #drawSide(x: number, top: number, bottom: number, near: number, far: number): void {
    const nearColumn = CENTRE_COLUMN + (FOCAL * x) / near
    const farColumn = CENTRE_COLUMN + (FOCAL * x) / far
    const x0 = Math.min(nearColumn, farColumn)
    const x1 = Math.max(nearColumn, farColumn)
    const first = Math.floor(x0)
    const last = Math.ceil(x1) - 1
    const shared = x > 0 ? last : first
    const farRow = HORIZON_ROW + (FOCAL * (EYE_HEIGHT - top)) / far
    for (let column = Math.max(0, first); column <= Math.min(WIDTH - 1, last); column++) {
      // Pixels per world unit at the column's left edge and right edge, within the face.
      const leftScale = (Math.max(x0, column) - CENTRE_COLUMN) / x
      const rightScale = (Math.min(x1, column + 1) - CENTRE_COLUMN) / x
      const depth = (2 * FOCAL) / (leftScale + rightScale)
      const covered = column === shared ? 1 : Math.min(x1, column + 1) - Math.max(x0, column)
      const u = texelOf(((depth - near) / (far - near)) * TEXELS)
      // Extends one pixel under the top face, which is blended over it, but not beyond the cube's far corner.
      const start = Math.max(farRow, HORIZON_ROW + Math.min(leftScale, rightScale) * (EYE_HEIGHT - top) - 1)
      this.#drawLine(
        column,
        WIDTH,
        HEIGHT,
        start,
        start,
        HORIZON_ROW + leftScale * (EYE_HEIGHT - bottom),
        HORIZON_ROW + rightScale * (EYE_HEIGHT - bottom),
        covered,
        x > 0 ? TEXELS - 1 - u : u,
        TEXELS,
        depth + SIDE_BEHIND,
      )
    }
  }

  /**
   * Draws one line of a face, a row or a column of pixels. The face's borders cross the line at an angle: it starts
   * between `start0` and `start1` and ends between `end0` and `end1`, in pixels along the line.
   *
   * @param origin index of the line's pixel 0; `stride`: step to the next pixel; `length`: number of pixels
   * @param covered share of the line's width that the face covers, 0 … 1
   * @param texel index of the line's first texel; `texelStride`: step to the next; TEXELS of them from start to end
   * @param depth of the whole line, in world units
   */
  #drawLine(
    origin: number,
    stride: number,
    length: number,
    start0: number,
    start1: number,
    end0: number,
    end1: number,
    covered: number,
    texel: number,
    texelStride: number,
    depth: number,
  ): void {
    const startLow = Math.min(start0, start1)
    const startHigh = Math.max(start0, start1)
    const endLow = Math.min(end0, end1)
    const endHigh = Math.max(end0, end1)
    const start = (start0 + start1) / 2
    const step = Math.floor((TEXELS * ONE) / ((end0 + end1) / 2 - start))
    const first = Math.max(0, Math.floor(startLow))
    const last = Math.min(length, Math.ceil(endHigh))
    // Pixels between the slanted borders are whole; if there are none, every pixel of the line is blended.
    const wholeFirst = covered === 1 ? Math.min(last, Math.max(first, Math.ceil(startHigh))) : last
    const wholeLast = Math.max(wholeFirst, Math.min(last, Math.floor(endLow)))
    const z = Math.floor(depth * DEPTH_STEPS)
    for (let at = first; at < last; at++) {
      if (at === wholeFirst) at = wholeLast
      if (at === last) break
      const inside = overlap(at, startLow, startHigh) - overlap(at, endLow, endHigh)
      const position = texelOf(((at + 0.5 - start) * step) / ONE)
      this.#blendPixel(origin + at * stride, texel + position * texelStride, covered * inside, z)
    }
    const from = Math.floor((wholeFirst + 0.5 - start) * step)
    if (this.#isForemost) this.#fillForemost(wholeFirst + origin, wholeLast - wholeFirst, texel, from, step)
    else
      this.#fillPixels(origin + wholeFirst * stride, stride, wholeLast - wholeFirst, texel, texelStride, from, step, z)
  }

  /** `#fillPixels` along a row, for a face that is fully visible. */
  #fillForemost(origin: number, count: number, texel: number, from: number, step: number): void {
    if (count <= 0) return
    const pixels = this.#pixels
    const bytes = this.#bytes
    const texture = this.#texture
    const packed = this.#facePaint.packed
    const last = (origin + count - 1) * 3
    let along = from
    let byte = origin * 3
    // Write four bytes at once: the fourth belongs to the next pixel, which is drawn next.
    for (; byte < last; byte += 3, along += step) {
      bytes.setUint32(byte, packed[texture[texel + (along >> 16)] as number] as number, true)
    }
    const colour = packed[texture[texel + (along >> 16)] as number] as number
    pixels[byte] = colour & 255
    pixels[byte + 1] = (colour >> 8) & 255
    pixels[byte + 2] = colour >> 16
  }

  #fillPixels(
    origin: number,
    stride: number,
    count: number,
    texel: number,
    texelStride: number,
    from: number,
    step: number,
    z: number,
  ): void {
    const depths = this.#depths
    const pixels = this.#pixels
    const texture = this.#texture
    const packed = this.#facePaint.packed
    const end = origin + count * stride
    let along = from
    for (let pixel = origin; pixel < end; pixel += stride) {
      const light = texture[texel + (along >> 16) * texelStride] as number
      along += step
      if (z > (depths[pixel] as number)) continue
      depths[pixel] = z
      const colour = packed[light] as number
      const byte = pixel * 3
      pixels[byte] = colour & 255
      pixels[byte + 1] = (colour >> 8) & 255
      pixels[byte + 2] = colour >> 16
      this.#recorder?.fill(pixel, light)
    }
  }

  #blendPixel(pixel: number, texel: number, covered: number, z: number): void {
    if (z > (this.#depths[pixel] as number)) return
    const share = Math.floor(256 * covered + 0.5)
    if (share >= 128) this.#depths[pixel] = z
    const light = this.#texture[texel] as number
    blendPixel(this.#pixels, pixel, this.#facePaint, light, share)
    this.#recorder?.blend(pixel, light, share)
  }
}

/** The share of pixel [at, at + 1) that lies beyond a border that crosses the line between `low` and `high`. */
function overlap(at: number, low: number, high: number): number {
  return beyond(at + 1, low, high) - beyond(at, low, high)
}

/** The integral up to `t` of a ramp from 0 at `low` to 1 at `high`. */
function beyond(t: number, low: number, high: number): number {
  if (t <= low) return 0
  return t >= high ? t - (low + high) / 2 : ((t - low) * (t - low)) / (2 * (high - low))
}

function texelOf(position: number): number {
  return Math.max(0, Math.min(TEXELS - 1, Math.floor(position)))
}
