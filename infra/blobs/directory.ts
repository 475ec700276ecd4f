import { createHash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { access, type FileHandle, lstat, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { BlobRef } from '../../schemas/logical-types.ts'
import { BlobCorruptError, BlobMissingError, type Blobs, named } from './blobs.ts'
import { DirectoryStore, flushFolder, isAbsent } from './directory-store.ts'

/**
 * Blobs as files `ab/cdef…` below one folder. A blob is written to a temporary file next to its place, flushed and
 * renamed, and the folder is flushed: a reader never sees a partial one.
 *
 * @param made a file outside of the folder that records, for every process, that blobs were put into it; without it, an
 * unmounted file system is distinguished from a new store only if this process has seen the store
 */
export function directoryBlobs(root: string, { made }: { readonly made?: string } = {}): Blobs {
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
      await flushFolder(root)
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

  const bytesOf = async (sha256: string): Promise<Buffer | undefined> => {
    const file = await openBlob(root, sha256)
    try {
      return await file?.readFile()
    } catch (error) {
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

  return {
    async has(ref) {
      if (await isFile(ref.sha256)) return true
      // A new store, into which nothing was put yet, lacks the blob too.
      if (await store.isAway()) throw store.away(named(ref))
      return false
    },

    async put(bytes, media_type) {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const ref: BlobRef = { sha256, bytes: bytes.byteLength, media_type }
      if ((await isFile(sha256)) && (await isWhole(sha256, bytes))) return ref
      const folder = await folderOf(sha256)
      const beside = join(folder, `.${randomUUID()}`)
      try {
        const file = await open(beside, 'wx')
        try {
          await file.writeFile(bytes)
          await file.datasync()
        } finally {
          await file.close()
        }
        await rename(beside, pathOf(sha256))
      } catch (error) {
        shards.delete(folder)
        await rm(beside, { force: true }).catch(() => undefined)
        throw error
      }
      await flushFolder(folder)
      return ref
    },

    async get(ref) {
      const bytes = (await bytesOf(ref.sha256)) ?? (await store.whileThere(named(ref), () => bytesOf(ref.sha256)))
      if (bytes === undefined) {
        throw new BlobMissingError(`${named(ref)} is not in ${root}; was the folder copied without its blobs?`)
      }
      const actual = createHash('sha256').update(bytes).digest('hex')
      if (actual !== ref.sha256) {
        throw new BlobCorruptError(
          `blob ${pathOf(ref.sha256)}: expected SHA-256 ${ref.sha256}, its bytes have ${actual}; restore the file from a copy`,
        )
      }
      return bytes
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
