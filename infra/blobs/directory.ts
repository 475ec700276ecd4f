import { createHash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { access, type FileHandle, lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { flushPath } from '../flush-path.ts'
import { BlobCorruptError, BlobMissingError, type BlobStore, named } from './blobs.ts'
import { blobFiles } from './directory-files.ts'
import { DirectoryStore, isAbsent } from './directory-store.ts'
import { checked, expectWithin, refOf, sha256Of } from './hashing.ts'
import { noteUse } from './note-use.ts'

export interface DirectoryOptions {
  /**
   * A file outside of the folder that records, for every process, that blobs were put into it; without it, an unmounted
   * file system is distinguished from a new store only if this process has seen the store.
   */
  readonly made?: string
  /** False for copies that a crash may lose: puts do not wait for the disk. */
  readonly flush?: boolean
}

/** How much of a stream is read at a time. */
const PIECE_BYTES = 64 * 1024

/**
 * Blobs as files `ab/cdef…` below one folder. A blob is written to a temporary file next to its place, flushed and
 * renamed, and the folder is flushed: a reader never sees a partial one.
 */
export function directoryBlobs(root: string, { made, flush = true }: DirectoryOptions = {}): BlobStore {
  const shards = new Set<string>()
  const store = new DirectoryStore(root, made)
  const pathOf = (sha256: string) => blobFile(root, sha256)

  async function folderOf(sha256: string): Promise<string> {
    const folder = join(root, sha256.slice(0, 2))
    if (!shards.has(folder)) {
      await store.prepare()
      // Not recursive: a root that has disappeared must not be created again.
      await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error
      })
      if (flush) await flushPath(root)
      shards.add(folder)
    }
    return folder
  }

  const isFile = (sha256: string) =>
    access(pathOf(sha256)).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (isAbsent(error)) return false
        throw error
      },
    )

  const bytesOf = async (sha256: string, signal?: AbortSignal): Promise<Buffer | undefined> => {
    const file = await openBlob(root, sha256)
    try {
      return await file?.readFile(signal && { signal })
    } catch (error) {
      signal?.throwIfAborted()
      // No blob of that size was ever stored: Node reads at most 2 GiB at once.
      if ((error as NodeJS.ErrnoException).code !== 'ERR_FS_FILE_TOO_LARGE') throw error
      throw new BlobCorruptError(`blob ${pathOf(sha256)}: ${(error as Error).message}; restore the file from a copy`)
    } finally {
      await file?.close()
    }
  }

  /** Whether the stored bytes are these. If not, `put` overwrites and so repairs them. */
  const isWhole = async (sha256: string, bytes: Uint8Array): Promise<boolean> => {
    const found = await bytesOf(sha256).catch((error: unknown) => {
      if (error instanceof BlobCorruptError) return undefined
      throw error
    })
    return found?.equals(bytes) ?? false
  }

  const missing = (ref: BlobRef) =>
    new BlobMissingError(`${named(ref)} is not in ${root}; was the folder copied without its blobs?`)

  const corrupt = ({ sha256 }: BlobRef, expected: string, actual: string) =>
    new BlobCorruptError(
      `blob ${pathOf(sha256)}: expected ${expected}, its bytes have ${actual}; restore the file from a copy`,
    )
  const otherHash = (ref: BlobRef, actual: string) => corrupt(ref, `SHA-256 ${ref.sha256}`, actual)

  /** Writes a temporary file and moves it to the blob's place when it is complete. */
  async function writeOnce(
    sha256: string,
    fill: (file: FileHandle) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const folder = await folderOf(sha256)
    const beside = join(folder, `.${randomUUID()}`)
    try {
      const file = await open(beside, 'wx')
      try {
        await fill(file)
        if (flush) await file.datasync()
      } finally {
        await file.close()
      }
      await rename(beside, pathOf(sha256))
    } catch (error) {
      shards.delete(folder)
      await rm(beside, { force: true }).catch(() => undefined)
      signal?.throwIfAborted()
      throw error
    }
    if (flush) await flushPath(folder)
  }

  /**
   * The store can disappear between any two calls of a write, and be back before the check: a file that was not found
   * is then looked up once more.
   *
   * @throws BlobsAwayError when the store disappeared meanwhile.
   */
  async function write(
    ref: BlobRef,
    fill: (file: FileHandle) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    for (let is_first = true; ; is_first = false) {
      try {
        return await writeOnce(ref.sha256, fill, signal)
      } catch (error) {
        if (!isAbsent(error as NodeJS.ErrnoException)) throw error
        if (await store.isAway()) throw store.away(named(ref))
        if (!is_first) throw error
      }
    }
  }

  return {
    async has(ref, { signal } = {}) {
      signal?.throwIfAborted()
      if ((await isFile(ref.sha256)) && (await noteUse(pathOf(ref.sha256)))) return true
      // A new store, into which nothing was put yet, lacks the blob too.
      if (await store.isAway()) throw store.away(named(ref))
      return false
    },

    async put(bytes, media_type, { signal, sha256 } = {}) {
      signal?.throwIfAborted()
      const ref = refOf(bytes, media_type, sha256)
      const is_there = (await isFile(ref.sha256)) && (await isWhole(ref.sha256, bytes))
      if (is_there && (await noteUse(pathOf(ref.sha256)))) return ref
      await write(ref, (file) => file.writeFile(bytes, signal && { signal }), signal)
      return ref
    },

    async putStream(ref, open, { signal } = {}) {
      signal?.throwIfAborted()
      // Written also when the blob exists: to hash the stored copy would cost as much, and this repairs a damaged one.
      await write(ref, (file) => file.writeFile(checked(ref, open()), signal && { signal }), signal)
    },

    async get(ref, { signal } = {}) {
      signal?.throwIfAborted()
      const bytes =
        (await bytesOf(ref.sha256, signal)) ?? (await store.whileThere(named(ref), () => bytesOf(ref.sha256, signal)))
      if (bytes === undefined) throw missing(ref)
      const actual = sha256Of(bytes)
      if (actual !== ref.sha256) throw otherHash(ref, actual)
      return bytes
    },

    async *getStream(ref, { range, signal } = {}) {
      signal?.throwIfAborted()
      if (range !== undefined) expectWithin(ref, range)
      const file =
        (await openBlob(root, ref.sha256)) ?? (await store.whileThere(named(ref), () => openBlob(root, ref.sha256)))
      if (file === undefined) throw missing(ref)
      const hash = createHash('sha256')
      try {
        const to = range?.to ?? (await file.stat()).size
        for (let at = range?.from ?? 0; at < to; ) {
          const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(Math.min(PIECE_BYTES, to - at)), {
            position: at,
          })
          signal?.throwIfAborted()
          if (bytesRead === 0) throw corrupt(ref, `at least ${to} bytes`, `a length of ${at}`)
          at += bytesRead
          const piece = buffer.subarray(0, bytesRead)
          if (range === undefined) hash.update(piece)
          yield piece
        }
      } finally {
        await file.close()
      }
      const actual = range === undefined ? hash.digest('hex') : ref.sha256
      if (actual !== ref.sha256) throw otherHash(ref, actual)
    },

    async *list({ after = '', signal } = {}) {
      signal?.throwIfAborted()
      // A new store lists nothing; an unmounted one is no empty store.
      if (await store.isAway()) throw store.away('its blobs cannot be listed')
      for await (const { sha256, bytes } of blobFiles(root, after)) {
        signal?.throwIfAborted()
        yield { sha256, bytes }
      }
      if (await store.isAway()) throw store.away('its blobs cannot be listed')
    },

    async delete(ref, { signal } = {}) {
      signal?.throwIfAborted()
      if (await store.isAway()) throw store.away(named(ref))
      // A link in the place of the folder could lead to any file that this process may delete.
      const folder = await lstat(dirname(pathOf(ref.sha256))).catch(() => undefined)
      if (folder?.isDirectory()) await rm(pathOf(ref.sha256), { force: true })
    },
  }
}

/**
 * Opens a blob for reading. Its file and its folder must be what they look like: a link there could lead to any file
 * that this process may read.
 *
 * @returns undefined if there is none
 * @throws BlobCorruptError when something other than a file is in its place.
 */
export async function openBlob(root: string, sha256: string): Promise<FileHandle | undefined> {
  const path = blobFile(root, sha256)
  const instead = (what: string) =>
    new BlobCorruptError(`blob ${path}: expected a file, found ${what}; restore the file from a copy`)
  try {
    if ((await lstat(dirname(path))).isSymbolicLink()) throw instead(`a link at ${dirname(path)}`)
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    if ((await file.stat()).isFile()) return file
    await file.close()
    throw instead('a folder or a device')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (isAbsent(error as NodeJS.ErrnoException)) return undefined
    if (code === 'ELOOP') throw instead('a link')
    throw error
  }
}

/** The path of a blob in this folder. */
export const blobFile = (root: string, sha256: string) => join(root, sha256.slice(0, 2), sha256.slice(2))
