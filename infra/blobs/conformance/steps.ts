import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { retryOf } from '../../retry.ts'
import { BlobMissingError, type BlobStore } from '../blobs.ts'
import { refOf } from '../hashing.ts'

/** Bytes that look random and are the same in every run. */
export function bytesOf(seed: string, length: number): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at * 32 < length; at++) blocks.push(createHash('sha256').update(`${seed}/${at}`).digest())
  return Buffer.concat(blocks).subarray(0, length)
}

export const LARGE = bytesOf('large', 1_000_003)
/** A blob that no case ever puts. */
export const NEVER_PUT = refOf(Buffer.from('never put'), 'text/plain')

/** In pieces of uneven sizes, some of them empty. */
export async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  let size = 1
  for (let at = 0; at < bytes.byteLength; at += size, size = (size * 7) % 100_003) {
    yield bytes.subarray(at, at + size)
    yield new Uint8Array()
  }
}

export async function listed(blobs: BlobStore, after?: string): Promise<string[]> {
  const found: string[] = []
  for await (const { sha256 } of blobs.list(after === undefined ? {} : { after })) found.push(sha256)
  return found
}

/** Each call of the port that reaches the store, by name. */
export function everyCall(blobs: BlobStore, call: { readonly signal?: AbortSignal } = {}) {
  const drain = async (items: AsyncIterable<unknown>) => {
    for await (const _ of items);
  }
  const bytes = bytesOf('every call', 1_000)
  return [
    ['put', () => blobs.put(bytes, 'text/plain', call)],
    ['putStream', () => blobs.putStream(refOf(bytes, 'text/plain'), () => inPieces(bytes), call)],
    ['get', () => blobs.get(NEVER_PUT, call)],
    ['getStream', () => drain(blobs.getStream(NEVER_PUT, call))],
    ['getStream of a range', () => drain(blobs.getStream(NEVER_PUT, { ...call, range: { from: 1, to: 3 } }))],
    ['has', () => blobs.has(NEVER_PUT, call)],
    ['list', () => drain(blobs.list(call))],
    ['delete', () => blobs.delete(NEVER_PUT, call)],
  ] as const
}

/** Asserts that no call reports a blob as missing: each throws an error that a retry can fix. */
export async function expectAway(blobs: BlobStore): Promise<void> {
  for (const [name, call] of everyCall(blobs)) {
    const outcome = await call().then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    assert('error' in outcome, `${name} succeeded: ${JSON.stringify(outcome)}`)
    assert(!(outcome.error instanceof BlobMissingError), `${name} reports a missing blob`)
    assert.equal(retryOf(outcome.error), 'later', `${name}: ${outcome.error}`)
  }
}
