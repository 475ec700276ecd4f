import type { Blob } from '../../schemas/wire/offload.ts'
import { BlobCorruptError, type Blobs, named } from './blobs.ts'

/**
 * Puts that are under way at a time: enough to hide the delay of a network, few enough that the stages of several hosts
 * do not exhaust the connections of one server. Inferred.
 */
export const PARALLEL_PUTS = 32

/**
 * Puts the blobs of a commit, several at a time. When this resolves, all of them are durable. After a failure no more
 * are started, those in progress are aborted, and the first error is thrown once all have ended.
 *
 * @param signal aborts it like a failure, with its reason
 * @throws BlobCorruptError when bytes that are not sealed no longer have the hash of their reference
 */
export async function putAll(blobs: Blobs, all: readonly Blob[], signal?: AbortSignal): Promise<void> {
  if (all.length === 0) return
  const waiting = new Map(all.map((blob) => [blob.ref.sha256, blob])).values()
  const failed = new AbortController()
  const stop = () => failed.abort(signal?.reason)
  if (signal?.aborted) stop()
  signal?.addEventListener('abort', stop)
  const lane = async () => {
    // The lanes share one iterator.
    for (const { bytes, ref, sealed } of waiting) {
      if (failed.signal.aborted) return
      const known = sealed ? { sha256: ref.sha256 } : {}
      const { sha256 } = await blobs.put(bytes, ref.media_type, { signal: failed.signal, ...known })
      if (sha256 !== ref.sha256) {
        throw new BlobCorruptError(
          `${named(ref)}: its bytes now have SHA-256 ${sha256}: they were changed between the call of put and the commit`,
        )
      }
    }
  }
  const lanes = Array.from({ length: PARALLEL_PUTS }, () =>
    lane().catch((error: unknown) => {
      failed.abort(error)
    }),
  )
  await Promise.all(lanes)
  signal?.removeEventListener('abort', stop)
  failed.signal.throwIfAborted()
}
