import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { temporaryFolder } from '../../../tests/temporary-folder.ts'
import { blobFile, directoryBlobs } from '../directory.ts'
import { blobConformance, OF_A_NETWORK } from './conformance.ts'
import type { BlobHarness } from './harness.ts'

export async function directoryHarness(): Promise<BlobHarness> {
  const folder = await temporaryFolder()
  const [root, made] = [join(folder, 'blobs'), join(folder, 'made')]
  return {
    open: () => directoryBlobs(root, { made }),
    through: () => Promise.reject(new Error('a folder is not behind a network')),
    async away() {
      await rename(root, `${root}-away`)
      return directoryBlobs(root, { made })
    },
    damage: (ref, bytes) => writeFile(blobFile(root, ref.sha256), bytes),
    close: async () => {},
  }
}

const skips = Object.fromEntries(OF_A_NETWORK.map((name) => [name, 'a folder is not behind a network']))
blobConformance('a directory', directoryHarness, skips)
