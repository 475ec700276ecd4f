import type { BlobRef } from '../../schemas/logical-types.ts'

/**
 * Immutable bytes under their own SHA-256. Contract: when `put` resolves, the bytes survive a crash, so a transaction
 * that names them may commit; `get` returns exactly what was put or throws. Putting the same bytes twice is one blob.
 */
export interface Blobs {
  put(bytes: Uint8Array, media_type: string): Promise<BlobRef>
  /** @throws BlobMissingError, BlobCorruptError */
  get(ref: BlobRef): Promise<Uint8Array>
  has(ref: BlobRef): Promise<boolean>
}

export class BlobMissingError extends Error {
  override readonly name = 'BlobMissingError'
}

/** The stored bytes do not hash to their name: a disk or a person changed them. */
export class BlobCorruptError extends Error {
  override readonly name = 'BlobCorruptError'
}
