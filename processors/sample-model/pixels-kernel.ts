import type { Picture } from './decoder.ts'

export interface PixelsInput {
  readonly bytes: Uint8Array
  readonly picture: Picture
}

const MAX_PIXELS = 100_000_000

/**
 * A picture as the input of a model, in a thread: as a person sees it (8-bit sRGB, without alpha), resized to the size
 * (bilinear, not keeping its ratio), then (value / 255 − mean) / std of each channel.
 *
 * @returns float32 of [3, height, width]
 * @throws Error when the bytes are no picture
 */
export async function pixels({ bytes, picture: { width, height, mean, std } }: PixelsInput): Promise<Float32Array> {
  const { default: sharp } = await import('sharp')
  const { data } = await sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'truncated' })
    .autoOrient()
    .toColourspace('srgb')
    .removeAlpha()
    .resize(width, height, { fit: 'fill', kernel: 'linear' })
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  const size = width * height
  const out = new Float32Array(3 * size)
  for (let channel = 0; channel < 3; channel++) {
    const [centre, spread] = [mean[channel] as number, std[channel] as number]
    for (let at = 0; at < size; at++) {
      out[channel * size + at] = ((data[at * 3 + channel] as number) / 255 - centre) / spread
    }
  }
  return out
}
