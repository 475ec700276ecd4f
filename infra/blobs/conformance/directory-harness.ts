import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BlobStore } from '../blobs.ts'
import { blobFile, directoryBlobs } from '../directory.ts'
import type { BlobHarness } from './harness.ts'

/** @param wrap changes every handle, to break a promise on purpose */
export async function directoryHarness(wrap = (blobs: BlobStore): BlobStore => blobs): Promise<BlobHarness> {
  const folder = await mkdtemp(join(tmpdir(), 'plumbline-test-'))
  const [root, made] = [join(folder, 'blobs'), join(folder, 'made')]
  return {
    open: () => wrap(directoryBlobs(root, { made })),
    through: () => Promise.reject(new Error('a folder is not behind a network')),
    async away() {
      await rename(root, `${root}-away`)
      return wrap(directoryBlobs(root, { made }))
    },
    damage: (ref, bytes) => writeFile(blobFile(root, ref.sha256), bytes),
    close: () => rm(folder, { recursive: true, force: true }),
  }
}
