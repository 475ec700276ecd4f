import { createHash } from 'node:crypto'
import type { ImageRef } from '../../schemas/declare/logical-types.ts'

const MAX_PIXELS = 100_000_000

/**
 * The size of an encoded image, and the SHA-256 of its pixels as a person sees them: 8-bit sRGB, rotated by the
 * orientation in its metadata, row by row.
 * @throws Error when the bytes are no image that can be decoded.
 */
export async function pixelsOf(bytes: Uint8Array): Promise<Pick<ImageRef, 'width' | 'height' | 'pixels_sha256'>> {
  const { default: sharp } = await import('sharp')
  const { data, info } = await sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'truncated' })
    .autoOrient()
    .toColourspace('srgb')
    .removeAlpha()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, pixels_sha256: createHash('sha256').update(data).digest('hex') }
}
