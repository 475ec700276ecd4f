import { randomUUID } from 'node:crypto'
import { rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { StoredBlob } from './blobs.ts'
import { blobFile } from './directory.ts'
import { cachedFiles } from './directory-files.ts'
import { isAbsent } from './directory-store.ts'

/** A blob of a folder, and when it was last put or asked for. */
export interface FoundBlob extends StoredBlob {
  readonly used_ms: number
}

const NAME = /([0-9a-f]{2})[\\/]([0-9a-f]{62})$/

/** The blobs of a folder that were neither put nor asked for since a time. */
export async function* oldBlobs(root: string, before_ms: number): AsyncGenerator<FoundBlob> {
  for await (const { path, bytes, mtime_ms } of cachedFiles(root)) {
    const [, shard, name] = NAME.exec(path) ?? []
    if (shard !== undefined && name !== undefined && mtime_ms < before_ms) {
      yield { sha256: shard + name, bytes, used_ms: mtime_ms }
    }
  }
}

/**
 * Deletes a blob unless it was put or asked for since a time. It is moved away first: what a process asks for meanwhile
 * is missing, or makes the blob young, and then it is moved back.
 *
 * @returns whether it was deleted
 */
export async function deleteIfOld(root: string, sha256: string, before_ms: number): Promise<boolean> {
  const path = blobFile(root, sha256)
  const beside = join(dirname(path), `.${randomUUID()}`)
  try {
    await rename(path, beside)
    if ((await stat(beside)).mtimeMs >= before_ms) {
      await rename(beside, path)
      return false
    }
    await rm(beside, { force: true })
    return true
  } catch (error) {
    if (isAbsent(error as NodeJS.ErrnoException)) return false
    throw error
  }
}
