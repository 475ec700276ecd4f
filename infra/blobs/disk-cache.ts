import { rm, utimes } from 'node:fs/promises'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import type { BlobCall, Blobs } from './blobs.ts'
import { blobFile, directoryBlobs } from './directory.ts'
import { type CachedFile, cachedFiles } from './directory-files.ts'

/** After a trim the cache is this full, so that not every put has to trim. */
const FULL_AFTER_TRIM = 0.9
/** A process measures the folder again after it has added this share of the limit. */
const MEASURED_EVERY = 0.05
/** A blob of more than this share of the limit is not cached: it would displace too many others. */
const LARGEST = 0.1

/**
 * Copies of blobs in a folder of bounded size, which several processes may share. The blobs that were used the longest
 * ago are deleted first. Each process measures the folder itself: n processes exceed the limit by at most n × 5 %.
 *
 * It is never the reason why a call fails: what cannot be read or written here is read from the store.
 */
export class DiskCache {
  readonly #root: string
  readonly #max_bytes: number
  #files: Blobs
  /** Bytes added since the folder was measured; the first put measures it. */
  #added = Number.POSITIVE_INFINITY
  #trimming: Promise<void> | undefined

  constructor(root: string, max_bytes: number) {
    this.#root = root
    this.#max_bytes = max_bytes
    this.#files = this.#open()
  }

  /** @returns undefined when the blob is not here, or its bytes are damaged */
  async get(ref: BlobRef, call: BlobCall = {}): Promise<Uint8Array | undefined> {
    const bytes = await this.#files.get(ref, call).catch(() => undefined)
    call.signal?.throwIfAborted()
    if (bytes === undefined) return undefined
    const now = new Date()
    await utimes(blobFile(this.#root, ref.sha256), now, now).catch(() => undefined)
    return bytes
  }

  async has(ref: BlobRef): Promise<boolean> {
    return await this.#files.has(ref).catch(() => false)
  }

  /** @param ref of the bytes, which are not hashed again */
  async put(bytes: Uint8Array, { media_type, sha256 }: BlobRef): Promise<void> {
    if (bytes.byteLength > this.#max_bytes * LARGEST) return
    try {
      await this.#files.put(bytes, media_type, { sha256 })
      this.#added += bytes.byteLength
      if (this.#added <= this.#max_bytes * MEASURED_EVERY) return
      this.#trimming ??= this.#trim().finally(() => {
        this.#trimming = undefined
      })
      await this.#trimming
    } catch {
      // A full disk, a folder of another user, or one that was deleted, which the next put creates again.
      this.#files = this.#open()
    }
  }

  /** A copy that a crash damages is read from the store again, so puts do not wait for the disk. */
  #open(): Blobs {
    return directoryBlobs(this.#root, { flush: false })
  }

  async #trim(): Promise<void> {
    this.#added = 0
    const files: CachedFile[] = []
    let bytes = 0
    for await (const file of cachedFiles(this.#root)) {
      files.push(file)
      bytes += file.bytes
    }
    if (bytes <= this.#max_bytes) return
    for (const file of files.sort((a, b) => a.mtime_ms - b.mtime_ms)) {
      if (bytes <= this.#max_bytes * FULL_AFTER_TRIM) return
      await rm(file.path, { force: true })
      bytes -= file.bytes
    }
  }
}
