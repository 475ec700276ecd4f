import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { StoredBlob } from './blobs.ts'
import { isAbsent, SHARD } from './directory-store.ts'

/** A file in the folder of a store: a blob, or a temporary file of a put. */
export interface CachedFile {
  readonly path: string
  readonly bytes: number
  readonly mtime_ms: number
}

const NAME = /^[0-9a-f]{62}$/

/** The blobs in a folder, by ascending SHA-256. */
export async function* blobFiles(root: string, after = ''): AsyncGenerator<StoredBlob> {
  const fromShard = (shard: string) => shard >= after.slice(0, 2)
  for await (const { shard, name, bytes } of filesIn(root, fromShard, (shard, name) => shard + name > after)) {
    if (NAME.test(name)) yield { sha256: shard + name, bytes }
  }
}

/** All files that puts have written, also those of processes that were killed before they had renamed them. */
export const cachedFiles = (root: string): AsyncIterable<CachedFile> =>
  filesIn(
    root,
    () => true,
    () => true,
  )

/** Links are left out, and files that disappear meanwhile. */
async function* filesIn(
  root: string,
  hasShard: (shard: string) => boolean,
  hasFile: (shard: string, name: string) => boolean,
): AsyncGenerator<CachedFile & { readonly shard: string; readonly name: string }> {
  for (const shard of (await sortedNames(root)).filter((name) => SHARD.test(name) && hasShard(name))) {
    const folder = join(root, shard)
    if (!(await look(folder))?.isDirectory()) continue
    for (const name of (await sortedNames(folder)).filter((name) => hasFile(shard, name))) {
      const path = join(folder, name)
      const found = await look(path)
      if (found?.isFile()) yield { shard, name, path, bytes: found.size, mtime_ms: found.mtimeMs }
    }
  }
}

const sortedNames = async (folder: string) => (await orAbsent(readdir(folder)))?.sort() ?? []
const look = (path: string) => orAbsent(lstat(path))

async function orAbsent<T>(looked: Promise<T>): Promise<T | undefined> {
  return looked.catch((error: NodeJS.ErrnoException) => {
    if (isAbsent(error)) return undefined
    throw error
  })
}
