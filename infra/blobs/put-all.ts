import type { Blob } from '../../schemas/wire/offload.ts'
import type { Blobs } from './blobs.ts'

/**
 * Puts that are under way at a time: enough to hide the delay of a network, few enough that the stages of several hosts
 * do not exhaust the connections of one server. Inferred.
 */
export const PARALLEL_PUTS = 32

/**
 * Puts the blobs of a commit, several at a time. When this resolves, all of them are durable. After a failure no more
 * are started, those under way are aborted, and the first error is thrown once all have ended.
 *
 * @param signal aborts it like a failure, with its reason
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
    for (const { bytes, ref } of waiting) {
      if (failed.signal.aborted) return
      await blobs.put(bytes, ref.media_type, { signal: failed.signal })
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
