import type { Blobs } from './blobs.ts'

/** Read-through cache: `here` stores each blob once it was read from `there`. `put` writes `there` first. */
export function cachedBlobs(here: Blobs, there: Blobs): Blobs {
  return {
    has: async (ref) => (await here.has(ref)) || there.has(ref),
    async put(bytes, media_type) {
      await there.put(bytes, media_type)
      return here.put(bytes, media_type)
    },
    async get(ref) {
      if (await here.has(ref)) return here.get(ref)
      const bytes = await there.get(ref)
      await here.put(bytes, ref.media_type)
      return bytes
    },
  }
}
