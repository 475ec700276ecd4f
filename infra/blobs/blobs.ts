import type { BlobRef } from '../../schemas/logical-types.ts'

/**
 * Immutable bytes under their own SHA-256. Contract: when `put` resolves, the bytes survive a crash, so a transaction
 * that names them may commit; `get` returns exactly what was put or throws. Putting the same bytes twice is one blob.
 *
 * Each call throws `BlobsAwayError` (or a system error) when the store cannot be reached: the blob may exist then.
 * `BlobMissingError`, and false from `has`, mean that the store was reached and lacks the blob.
 */
export interface Blobs {
  put(bytes: Uint8Array, media_type: string): Promise<BlobRef>
  /** @throws BlobMissingError, BlobCorruptError */
  get(ref: BlobRef): Promise<Uint8Array>
  has(ref: BlobRef): Promise<boolean>
}

/** The store cannot be reached, refuses, or something else answers in its place. */
export class BlobsAwayError extends Error {
  override readonly name: string = 'BlobsAwayError'
  readonly retry = 'later'
}

/** The store was reached and does not contain the blob. */
export class BlobMissingError extends Error {
  override readonly name = 'BlobMissingError'
  readonly retry = 'never'
}

/** The stored bytes do not hash to their name: a disk or a person changed them. */
export class BlobCorruptError extends Error {
  override readonly name = 'BlobCorruptError'
  readonly retry = 'never'
}

/** How messages name a blob. */
export const named = ({ sha256, media_type, bytes }: BlobRef) => `blob ${sha256} (${media_type}, ${bytes} bytes)`
