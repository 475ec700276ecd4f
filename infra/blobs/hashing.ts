import { createHash } from 'node:crypto'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { BlobCorruptError, type ByteRange, named } from './blobs.ts'

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** @param sha256 of the bytes, if it is known */
export const refOf = (bytes: Uint8Array, media_type: string, sha256 = sha256Of(bytes)): BlobRef => ({
  sha256,
  bytes: bytes.byteLength,
  media_type,
})

/**
 * The bytes of a blob on their way into a store. The last piece is passed on only after the hash of all of them was
 * checked, so no store ever receives wrong bytes to their end.
 *
 * @throws BlobCorruptError
 */
export async function* checked(ref: BlobRef, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let held: Uint8Array | undefined
  let size = 0
  for await (const piece of bytes) {
    if (piece.byteLength === 0) continue
    size += piece.byteLength
    if (size > ref.bytes) throw new BlobCorruptError(`${named(ref)}: more bytes than that were given`)
    hash.update(piece)
    if (held !== undefined) yield held
    held = piece
  }
  const actual = hash.digest('hex')
  if (actual !== ref.sha256) {
    throw new BlobCorruptError(`expected bytes of SHA-256 ${ref.sha256}, the ${size} received have ${actual}`)
  }
  if (held !== undefined) yield held
}

/** @throws RangeError when the blob has no such bytes. */
export function expectWithin(ref: BlobRef, { from, to }: ByteRange): void {
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= ref.bytes) return
  throw new RangeError(`${named(ref)}: expected a range within it, got the bytes from ${from} up to ${to}`)
}

/** All pieces in one. */
export async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const got: Uint8Array[] = []
  for await (const piece of pieces) got.push(piece)
  return Buffer.concat(got)
}
