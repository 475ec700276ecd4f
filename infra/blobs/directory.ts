import { createHash, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { access, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BlobRef } from '../../schemas/logical-types.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from './blobs.ts'

/**
 * Blobs as files `ab/cdef…` below one folder. A blob is written beside its place, flushed, renamed, and the folder
 * flushed: a reader never sees half of one.
 */
export function directoryBlobs(root: string): Blobs {
  const made = new Set<string>()
  const pathOf = (sha256: string) => blobFile(root, sha256)

  async function folderOf(sha256: string): Promise<string> {
    const folder = join(root, sha256.slice(0, 2))
    if (!made.has(folder)) {
      await mkdir(folder, { recursive: true })
      await flushFolder(root)
      made.add(folder)
    }
    return folder
  }

  async function has(ref: BlobRef): Promise<boolean> {
    return access(pathOf(ref.sha256)).then(
      () => true,
      () => false,
    )
  }

  return {
    has,

    async put(bytes, media_type) {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const ref = { sha256, bytes: bytes.byteLength, media_type }
      if (await has(ref)) return ref
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
        await rm(beside, { force: true })
        throw error
      }
      await flushFolder(folder)
      return ref
    },

    async get(ref) {
      const bytes = await readFile(pathOf(ref.sha256)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
        const blob = `blob ${ref.sha256} (${ref.media_type}, ${ref.bytes} bytes)`
        // Without the folder nothing can be said of the blob: that is no fault of the event that names it.
        if (!existsSync(root)) throw new Error(`${blob}: the blob folder ${root} is not there; is it mounted?`)
        throw new BlobMissingError(`${blob} is not in ${root}; was the folder copied without its blobs?`)
      })
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

/** Where a blob of this folder lies. */
export const blobFile = (root: string, sha256: string) => join(root, sha256.slice(0, 2), sha256.slice(2))

async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
