import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isAbsent, SHARD } from './directory-store.ts'

export interface BlobFile {
  readonly path: string
  readonly sha256: string
  readonly bytes: number
  readonly mtime_ms: number
}

/** The blobs in a folder, by ascending SHA-256. Links are no blobs; files that disappear meanwhile are left out. */
export async function* blobFiles(root: string, after = ''): AsyncGenerator<BlobFile> {
  for (const shard of (await sortedNames(root)).filter((name) => SHARD.test(name) && name >= after.slice(0, 2))) {
    const folder = join(root, shard)
    if (!(await look(folder))?.isDirectory()) continue
    for (const name of (await sortedNames(folder)).filter((name) => NAME.test(name) && shard + name > after)) {
      const path = join(folder, name)
      const found = await look(path)
      if (found?.isFile()) yield { path, sha256: shard + name, bytes: found.size, mtime_ms: found.mtimeMs }
    }
  }
}

const NAME = /^[0-9a-f]{62}$/

const sortedNames = async (folder: string) => (await orAbsent(readdir(folder)))?.sort() ?? []
const look = (path: string) => orAbsent(lstat(path))

async function orAbsent<T>(looked: Promise<T>): Promise<T | undefined> {
  return looked.catch((error: NodeJS.ErrnoException) => {
    if (isAbsent(error)) return undefined
    throw error
  })
}
