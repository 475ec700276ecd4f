import type { Blobs } from './blobs.ts'
import type { DiskCache } from './disk-cache.ts'

export interface CachedBlobsOptions {
  /** The store of record. */
  readonly there: Blobs
  readonly cache: DiskCache
  /** Blobs that the data folder already has, from before it used the store; they are read, never deleted. */
  readonly own: Pick<Blobs, 'get' | 'has'>
}

/** Read-through cache of a remote store. `put` writes the remote first. */
export function cachedBlobs({ there, cache, own }: CachedBlobsOptions): Blobs {
  // What is wrong with the folder's own blobs (damaged, not mounted) is no reason not to ask the store.
  const isOwn = (ref: Parameters<Blobs['has']>[0]) => own.has(ref).catch(() => false)
  return {
    async has(ref, call) {
      return (await cache.has(ref)) || (await isOwn(ref)) || (await there.has(ref, call))
    },
    async put(bytes, media_type, call) {
      const ref = await there.put(bytes, media_type, call)
      await cache.put(bytes, ref)
      return ref
    },
    async get(ref, call) {
      const cached = await cache.get(ref, call)
      if (cached !== undefined) return cached
      const owned = (await isOwn(ref)) ? await own.get(ref, call).catch(() => undefined) : undefined
      if (owned !== undefined) return owned
      const bytes = await there.get(ref, call)
      await cache.put(bytes, ref)
      return bytes
    },
  }
}
