import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { BlobMissingError, type BlobStore, type ByteRange } from './blobs.ts'
import { directoryBlobs, openBlob } from './directory.ts'

/** A stored blob, opened for reading. */
export interface OpenedBlob {
  readonly size: number
  bytes(range: ByteRange): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

/** Blobs by their SHA-256 alone, which is what a URL has. */
export interface ServedBlobs extends Pick<BlobStore, 'putStream'> {
  /** @throws BlobMissingError, BlobCorruptError; an error with `retry: 'later'` when the store cannot be reached */
  open(sha256: string): Promise<OpenedBlob>
  /** Hashes the stored bytes. @throws as `open` */
  check(sha256: string): Promise<void>
  /** Whether it is there; a new, empty store answers no. @throws as `open` */
  has(sha256: string): Promise<boolean>
}

const refTo = (sha256: string, bytes = 0): BlobRef => ({ sha256, bytes, media_type: 'any' })

/** The blobs of a folder of `directoryBlobs`. */
export function servedDirectory(root: string, made?: string): ServedBlobs {
  const blobs = directoryBlobs(root, made === undefined ? {} : { made })
  return {
    async open(sha256) {
      // If the file is absent, `get` tells why; if it finds it after all, it was put just now.
      const file = (await openBlob(root, sha256)) ?? (await blobs.get(refTo(sha256)).then(() => openBlob(root, sha256)))
      if (file === undefined) throw new BlobMissingError(`blob ${sha256} is not in ${root}`)
      const { size } = await file.stat()
      return {
        size,
        bytes: ({ from, to }) => file.createReadStream({ start: from, end: to - 1, autoClose: false }),
        close: () => file.close(),
      }
    },
    check: async (sha256) => void (await blobs.get(refTo(sha256))),
    has: (sha256) => blobs.has(refTo(sha256)),
    putStream: blobs.putStream,
  }
}

/** The blobs of any store, which tells sizes by its list. */
export function servedStore(store: BlobStore): ServedBlobs {
  const sizeOf = async (sha256: string): Promise<number> => {
    for await (const found of store.list({ after: before(sha256) })) {
      if (found.sha256 === sha256) return found.bytes
      break
    }
    throw new BlobMissingError(`blob ${sha256} is not in the store`)
  }
  return {
    async open(sha256) {
      const size = await sizeOf(sha256)
      return { size, bytes: (range) => store.getStream(refTo(sha256, size), { range }), close: async () => {} }
    },
    async check(sha256) {
      for await (const _ of store.getStream(refTo(sha256, await sizeOf(sha256)))) {
        // Its end checks the hash.
      }
    },
    has: (sha256) => store.has(refTo(sha256)),
    putStream: (ref, open, call) => store.putStream(ref, open, call),
  }
}

/** The SHA-256 below this one; empty below the lowest. */
function before(sha256: string): string {
  const number = BigInt(`0x${sha256}`)
  return number === 0n ? '' : (number - 1n).toString(16).padStart(64, '0')
}
