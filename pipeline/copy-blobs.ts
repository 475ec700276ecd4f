import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, lstatSync, readdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MARK } from '../infra/blobs/directory-store.ts'
import { makeFolder } from '../infra/make-folder.ts'
import { blobFolder } from './blob-stores.ts'

/** Copies each blob whose bytes match the hash in its name. @returns also the files that do not match */
export async function copyBlobs(
  from: string,
  to: string,
): Promise<{ readonly copied: number; readonly damaged: readonly string[] }> {
  const [source, target] = [blobFolder(from), blobFolder(to)]
  const damaged: string[] = []
  let copied = 0
  for (const shard of namesIn(source.root).filter((name) => /^[0-9a-f]{2}$/.test(name))) {
    const folder = join(source.root, shard)
    // Links are not followed, as in a blob store.
    if (!lstatSync(folder).isDirectory()) continue
    const copies = join(target.root, shard)
    makeFolder(copies)
    for (const name of namesIn(folder).filter((name) => /^[0-9a-f]{62}$/.test(name))) {
      const file = join(folder, name)
      const bytes = lstatSync(file).isFile() ? await readFile(file).catch(() => undefined) : undefined
      if (bytes === undefined || createHash('sha256').update(bytes).digest('hex') !== shard + name) damaged.push(file)
      else {
        await writeFile(join(copies, name), bytes)
        copied++
      }
    }
  }
  // These files distinguish an empty store from an unmounted one.
  if (existsSync(source.made)) copyFileSync(source.made, target.made)
  if (existsSync(join(source.root, MARK))) {
    makeFolder(target.root)
    copyFileSync(join(source.root, MARK), join(target.root, MARK))
  }
  return { copied, damaged }
}

const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : [])
