/**
 * A face's colour for every texel value, computed once per face instead of once per pixel.
 */

/** Texels are bytes. */
const LIGHTS = 256

export class Paint {
  red = 0
  green = 0
  blue = 0
  /** By texel value: red, green and blue, each clamped to 255, from the lowest byte up. */
  readonly packed = new Uint32Array(LIGHTS)

  /** `light`: the face's share of the light, of 256; `darkest` and `brightest`: the range of texel values in use. */
  mix(colour: readonly number[], light: number, { darkest, brightest }: TexelRange): void {
    const red = ((colour[0] ?? 0) * light) >> 8
    const green = ((colour[1] ?? 0) * light) >> 8
    const blue = ((colour[2] ?? 0) * light) >> 8
    this.red = red
    this.green = green
    this.blue = blue
    const packed = this.packed
    for (let texel = darkest; texel <= brightest; texel++) {
      packed[texel] =
        clamp((red * texel) >> 7) | (clamp((green * texel) >> 7) << 8) | (clamp((blue * texel) >> 7) << 16)
    }
  }
}

export interface TexelRange {
  readonly darkest: number
  readonly brightest: number
}

export function rangeOf(textures: readonly Uint8Array[]): TexelRange {
  let darkest = 255
  let brightest = 0
  for (const texture of textures) {
    for (const texel of texture) {
      if (texel < darkest) darkest = texel
      if (texel > brightest) brightest = texel
    }
  }
  return { darkest, brightest }
}

function clamp(value: number): number {
  return Math.min(255, value)
}
