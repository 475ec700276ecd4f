import { BlobMissingError, type Blobs, named } from './blobs.ts'
import { refOf } from './hashing.ts'

/** Blobs of this process, for tests. They are stored as they are given, and copied for every reader. */
export function memoryBlobs(): Blobs {
  const stored = new Map<string, Uint8Array>()
  return {
    has: async (ref) => stored.has(ref.sha256),
    async put(bytes, media_type, { sha256 } = {}) {
      const ref = refOf(bytes, media_type, sha256)
      stored.set(ref.sha256, bytes)
      return ref
    },
    async get(ref) {
      const bytes = stored.get(ref.sha256)
      if (bytes === undefined) throw new BlobMissingError(`${named(ref)} was not put`)
      return Buffer.from(bytes)
    },
  }
}
