/**
 * Records drawing operations so that they can be replayed in other colours: a tower of aligned blocks always covers the
 * same pixels, whatever its colours.
 */

import type { Paint } from './paint.ts'

/** A run of pixels that one face covers completely. */
interface Run {
  readonly paint: number
  readonly pixel: number
  readonly texels: Uint8Array
}

export class Strokes {
  readonly #runs: readonly Run[]
  /** Four numbers each: paint, pixel, texel, share of 256. */
  readonly #blends: Int32Array
  /** Depth of the drawn faces, per pixel. */
  readonly depths: Uint16Array<ArrayBuffer>
  /** Indices of the visible paints; a hidden face has none. */
  readonly paints: readonly number[]

  constructor(runs: readonly Run[], blends: Int32Array, depths: Uint16Array<ArrayBuffer>) {
    this.#runs = runs
    this.#blends = blends
    this.depths = depths
    this.paints = [...new Set([...runs.map(({ paint }) => paint), ...blends.filter((_, at) => at % 4 === 0)])]
  }

  /** Replays the drawing, face i with `paints[i]`. `bytes` is a view of `pixels`. */
  draw(pixels: Uint8ClampedArray, bytes: DataView, paints: readonly Paint[]): void {
    for (const { paint, pixel, texels } of this.#runs) {
      fillRun(pixels, bytes, (paints[paint] as Paint).packed, pixel * 3, texels)
    }
    const blends = this.#blends
    for (let at = 0; at < blends.length; at += 4) {
      const paint = paints[blends[at] as number] as Paint
      blendPixel(pixels, blends[at + 1] as number, paint, blends[at + 2] as number, blends[at + 3] as number)
    }
  }
}

function fillRun(
  pixels: Uint8ClampedArray,
  bytes: DataView,
  packed: Uint32Array,
  from: number,
  texels: Uint8Array,
): void {
  const last = texels.length - 1
  let byte = from
  // Write four bytes at once: the fourth belongs to the next pixel, which is drawn next.
  for (let at = 0; at < last; at++, byte += 3) bytes.setUint32(byte, packed[texels[at] as number] as number, true)
  const colour = packed[texels[last] as number] as number
  pixels[byte] = colour & 255
  pixels[byte + 1] = (colour >> 8) & 255
  pixels[byte + 2] = colour >> 16
}

/** Blends a texel over the pixel, which it covers by `share` of 256. The Uint8ClampedArray clamps the result. */
export function blendPixel(pixels: Uint8ClampedArray, pixel: number, paint: Paint, texel: number, share: number): void {
  const byte = pixel * 3
  const under = 256 - share
  pixels[byte] = ((pixels[byte] as number) * under + ((paint.red * texel) >> 7) * share) >> 8
  pixels[byte + 1] = ((pixels[byte + 1] as number) * under + ((paint.green * texel) >> 7) * share) >> 8
  pixels[byte + 2] = ((pixels[byte + 2] as number) * under + ((paint.blue * texel) >> 7) * share) >> 8
}

/** Records what the rasteriser draws. */
export class StrokeRecorder {
  readonly #fills = new Map<number, { readonly paint: number; readonly texel: number }>()
  #blends: { readonly paint: number; readonly pixel: number; readonly texel: number; readonly share: number }[] = []
  #paint = -1

  nextPaint(): void {
    this.#paint += 1
  }

  /** A fill replaces everything drawn on this pixel before. */
  fill(pixel: number, texel: number): void {
    this.#fills.set(pixel, { paint: this.#paint, texel })
    this.#blends = this.#blends.filter((blend) => blend.pixel !== pixel)
  }

  blend(pixel: number, texel: number, share: number): void {
    this.#blends.push({ paint: this.#paint, pixel, texel, share })
  }

  /** Within a pixel the fill precedes all remaining blends, so all fills can be replayed first. */
  finish(depths: Uint16Array<ArrayBuffer>): Strokes {
    const runs: { paint: number; pixel: number; texels: number[] }[] = []
    for (const [pixel, { paint, texel }] of [...this.#fills].sort(([a], [b]) => a - b)) {
      const run = runs.at(-1)
      if (run !== undefined && run.paint === paint && run.pixel + run.texels.length === pixel) run.texels.push(texel)
      else runs.push({ paint, pixel, texels: [texel] })
    }
    const blends = this.#blends.flatMap(({ paint, pixel, texel, share }) => [paint, pixel, texel, share])
    return new Strokes(
      runs.map(({ paint, pixel, texels }) => ({ paint, pixel, texels: Uint8Array.from(texels) })),
      Int32Array.from(blends),
      depths,
    )
  }
}
