import type { BlobRef } from '../../schemas/declare/logical-types.ts'

/**
 * Immutable bytes under their own SHA-256. The contract, which `conformance/` tests on every driver:
 *
 * - When `put` resolves, the bytes survive a crash, so a transaction that names them may commit. A blob is visible whole
 *   or not at all. Putting the same bytes again, also concurrently, is one blob; if the stored copy is damaged, the put
 *   repairs it.
 * - A put and a `has` of a stored blob note its use in the folder of a data folder, so that `retain` does not delete what
 *   a record is about to name.
 * - `get` returns exactly what was put, or throws. Bytes that do not hash to their name are never returned. The caller
 *   may change what it got: no other reader has the same memory.
 * - Only a store that answers can report a blob as missing: `BlobMissingError`, and false from `has`. If the store cannot
 *   be reached, refuses, or something else answers in its place, the call throws `BlobsAwayError` or a system error
 *   (`retry: 'later'`): the blob may exist.
 * - An aborted call rejects with the reason of its signal. An aborted put has stored the whole blob or nothing.
 */
export interface Blobs {
  put(bytes: Uint8Array, media_type: string, call?: PutCall): Promise<BlobRef>
  /** @throws BlobMissingError, BlobCorruptError */
  get(ref: BlobRef, call?: BlobCall): Promise<Uint8Array>
  has(ref: BlobRef, call?: BlobCall): Promise<boolean>
}

/** A whole store, as a driver implements it: what programs that manage blobs need in addition. */
export interface BlobStore extends Blobs {
  /**
   * Stores bytes whose hash the caller knows, without holding all of them in memory.
   *
   * @param open the bytes from the beginning; called for each attempt; a store that has the blob need not call it
   * @throws BlobCorruptError when they do not hash to `ref.sha256`; nothing is stored then
   */
  putStream(ref: BlobRef, open: () => AsyncIterable<Uint8Array>, call?: BlobCall): Promise<void>
  /**
   * The bytes in pieces. The hash is known only at the end: use nothing of it before the iteration has ended without an
   * error. A range is not hashed: only its length is certain.
   *
   * @throws BlobMissingError, BlobCorruptError. RangeError when the range is not within `ref.bytes`.
   */
  getStream(ref: BlobRef, call?: BlobCall & { readonly range?: ByteRange }): AsyncIterable<Uint8Array>
  /**
   * What is stored, by ascending SHA-256. Blobs that are put or deleted meanwhile may be listed or not.
   *
   * @param after lists only those with a greater SHA-256
   */
  list(call?: BlobCall & { readonly after?: string }): AsyncIterable<StoredBlob>
  /**
   * Deletes a blob; an absent one is no error. A put of the same bytes at the same time may or may not survive: the
   * caller must know that nothing names the blob.
   */
  delete(ref: BlobRef, call?: BlobCall): Promise<void>
}

export interface BlobCall {
  readonly signal?: AbortSignal
}

export interface PutCall extends BlobCall {
  /** The SHA-256 of the bytes, if the caller has hashed exactly them: a store need not hash them again. */
  readonly sha256?: string
}

/** The bytes from `from` up to, but not including, `to`. */
export interface ByteRange {
  readonly from: number
  readonly to: number
}

export interface StoredBlob {
  readonly sha256: string
  readonly bytes: number
}

/** Largest blob that a server accepts, and that a client accepts from a store. */
export const MAX_BLOB_BYTES = 1024 * 1024 * 1024

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

/** Bytes do not hash to their name: a disk or a person changed them, or a caller put others. */
export class BlobCorruptError extends Error {
  override readonly name = 'BlobCorruptError'
  readonly retry = 'never'
}

/** How messages name a blob. */
export const named = ({ sha256, media_type, bytes }: BlobRef) => `blob ${sha256} (${media_type}, ${bytes} bytes)`
