import { BlobCorruptError, BlobMissingError, type BlobStore } from '../blobs.ts'
import { collect, refOf } from '../hashing.ts'

/** A store that breaks one promise, and the case that must notice it. */
export interface BrokenStore {
  readonly name: string
  readonly caught_by: string
  wrap(blobs: BlobStore): BlobStore
}

export const BROKEN_STORES: readonly BrokenStore[] = [
  {
    name: 'a blob is read back with another media type',
    caught_by: 'a blob is read back as it was put, under the hash of its bytes: empty, one byte, a megabyte',
    wrap: (blobs) => ({ ...blobs, put: (bytes, _, call) => blobs.put(bytes, 'any', call) }),
  },
  {
    name: 'a second put of the same bytes is refused',
    caught_by: 'the same bytes, put concurrently through several handles, are one blob',
    wrap: (blobs) => {
      const seen = new Set<string>()
      return {
        ...blobs,
        async put(bytes, media_type, call) {
          const { sha256 } = refOf(bytes, media_type)
          if (seen.has(sha256)) throw new Error('exists')
          seen.add(sha256)
          return blobs.put(bytes, media_type, call)
        },
      }
    },
  },
  {
    name: 'a blob whose hash is known is taken for stored',
    caught_by: 'bytes put with their hash are the same blob as without it',
    wrap: (blobs) => ({
      ...blobs,
      put: async (bytes, media_type, call) =>
        call?.sha256 === undefined
          ? blobs.put(bytes, media_type, call)
          : { sha256: call.sha256, bytes: bytes.byteLength, media_type },
    }),
  },
  {
    name: 'all readers get the same memory',
    caught_by: 'a reader may change the bytes that it got: another one gets what was put',
    wrap: (blobs) => {
      const got = new Map<string, Promise<Uint8Array>>()
      return {
        ...blobs,
        get(ref, call) {
          const bytes = got.get(ref.sha256) ?? blobs.get(ref, call)
          got.set(ref.sha256, bytes)
          return bytes
        },
      }
    },
  },
  {
    name: 'damaged bytes are returned',
    caught_by: 'damaged bytes are never returned: changed, cut short, empty, longer',
    wrap: (blobs) => ({
      ...blobs,
      get: (ref, call) =>
        blobs.get(ref, call).catch((error: unknown) => {
          if (error instanceof BlobCorruptError) return Buffer.from('damaged')
          throw error
        }),
    }),
  },
  {
    name: 'a damaged stream ends as if it were whole',
    caught_by: 'damaged bytes are never returned: changed, cut short, empty, longer',
    wrap: (blobs) => ({
      ...blobs,
      async *getStream(ref, call) {
        try {
          yield* blobs.getStream(ref, call)
        } catch (error) {
          if (!(error instanceof BlobCorruptError)) throw error
        }
      },
    }),
  },
  {
    name: 'a put does not repair what exists',
    caught_by: 'a put over a damaged blob repairs it, also as a stream',
    wrap: (blobs) => ({
      ...blobs,
      async put(bytes, media_type, call) {
        const ref = refOf(bytes, media_type)
        return (await blobs.has(ref)) ? ref : blobs.put(bytes, media_type, call)
      },
    }),
  },
  {
    name: 'an unavailable store reports the blob as missing',
    caught_by: 'a store that cannot be reached reports no blob as missing',
    wrap: (blobs) => ({
      ...blobs,
      get: (ref, call) =>
        blobs.get(ref, call).catch(() => {
          throw new BlobMissingError('not here')
        }),
    }),
  },
  {
    name: 'an unavailable store lists no blobs',
    caught_by: 'a store that cannot be reached reports no blob as missing',
    wrap: (blobs) => ({
      ...blobs,
      async *list(call) {
        try {
          yield* blobs.list(call)
        } catch {
          // As if nothing were stored.
        }
      },
    }),
  },
  {
    name: 'the bytes of a broken stream are stored',
    caught_by: 'a stream that does not hash to its name, or that fails, stores nothing',
    wrap: (blobs) => ({
      ...blobs,
      async putStream(ref, open, call) {
        const got: Uint8Array[] = []
        try {
          for await (const piece of open()) got.push(piece)
        } finally {
          await blobs.put(Buffer.concat(got), ref.media_type, call)
        }
      },
    }),
  },
  {
    name: 'a range contains the byte at its end',
    caught_by: 'a range is exactly those bytes; one outside the blob is refused',
    wrap: (blobs) => ({
      ...blobs,
      getStream: (ref, { range, ...call } = {}) =>
        blobs.getStream(ref, range === undefined ? call : { ...call, range: { from: range.from, to: range.to + 1 } }),
    }),
  },
  {
    name: 'a signal is ignored',
    caught_by: 'a call whose signal is aborted rejects with its reason, and stores nothing',
    wrap: (blobs) => ({ ...blobs, has: (ref) => blobs.has(ref) }),
  },
  {
    name: 'a put is not aborted in the middle',
    caught_by: 'a transfer that is aborted in the middle ends with the reason, and nothing of it is visible',
    wrap: (blobs) => ({
      ...blobs,
      async putStream(ref, open, { signal } = {}) {
        await blobs.put(await collect(open()), ref.media_type)
        signal?.throwIfAborted()
      },
    }),
  },
  {
    name: 'a list is in no order',
    caught_by: 'a list names every blob once, by ascending SHA-256, with its size; an empty store lists nothing',
    wrap: (blobs) => ({
      ...blobs,
      async *list(call) {
        const all: { sha256: string; bytes: number }[] = []
        for await (const blob of blobs.list(call)) all.push(blob)
        yield* all.reverse()
      },
    }),
  },
  {
    name: 'a list starts with the blob after which it should',
    caught_by: 'a list resumes after any SHA-256, of a blob or not',
    wrap: (blobs) => ({
      ...blobs,
      async *list({ after = '', ...call } = {}) {
        for await (const blob of blobs.list(call)) if (blob.sha256 >= after) yield blob
      },
    }),
  },
  {
    name: 'a deleted blob stays',
    caught_by: 'a deleted blob is missing and no longer listed, others stay, and it can be put again',
    wrap: (blobs) => ({ ...blobs, delete: async () => {} }),
  },
]
