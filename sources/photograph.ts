import { pixelsOf } from '../infra/blobs/pixels.ts'
import type { ImageRef } from '../schemas/declare/logical-types.ts'

/** A decoded photograph, as a viewer shows it: 8 bits, sRGB, rotated by its EXIF orientation. */
export interface Photograph {
  readonly media_type: 'image/png' | 'image/jpeg'
  readonly picture: Pick<ImageRef, 'width' | 'height' | 'pixels_sha256'>
}

const SIGNATURES = [
  { media_type: 'image/png', bytes: Buffer.from('89504e470d0a1a0a', 'hex') },
  { media_type: 'image/jpeg', bytes: Buffer.from('ffd8ff', 'hex') },
] as const

/**
 * Decodes a PNG or JPEG, recognised by its first bytes, because a file name may be wrong. Other formats never reach a
 * decoder: an SVG, for example, may refer to files.
 *
 * @throws Error that describes what is wrong with the bytes.
 */
export async function decodePhotograph(bytes: Buffer): Promise<Photograph> {
  const known = SIGNATURES.find((signature) => bytes.subarray(0, signature.bytes.length).equals(signature.bytes))
  if (known === undefined) throw new Error('expected a picture, PNG or JPEG by its first bytes')
  const picture = await pixelsOf(bytes).catch((error: Error) => {
    throw new Error(`expected a picture, but it cannot be decoded: ${error.message}`)
  })
  return { media_type: known.media_type, picture }
}
