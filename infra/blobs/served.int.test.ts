import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { BlobMissingError } from './blobs.ts'
import { directoryBlobs } from './directory.ts'
import { collect } from './hashing.ts'
import { servedDirectory, servedStore } from './served.ts'

describe.each([
  ['a folder', servedDirectory],
  ['any store', (root: string) => servedStore(directoryBlobs(root))],
])('%s', (_, servedAt) => {
  test('serves the blobs that it has by their SHA-256 alone, the lowest and the highest too', async () => {
    const root = await temporaryFolder()
    const served = servedAt(root)
    const texts = ['', 'one', 'two', 'three', 'four']
    const refs = await Promise.all(texts.map((text) => directoryBlobs(root).put(Buffer.from(text), 'text/plain')))
    for (const [at, { sha256 }] of refs.entries()) {
      const text = texts[at] as string
      const blob = await served.open(sha256)
      expect(blob.size).toBe(text.length)
      if (text !== '') expect(String(await collect(blob.bytes({ from: 1, to: text.length })))).toBe(text.slice(1))
      await blob.close()
      await served.check(sha256)
      expect(await served.has(sha256)).toBe(true)
    }
    for (const sha256 of ['0'.repeat(64), 'f'.repeat(64), 'e'.repeat(64)]) {
      await expect(served.open(sha256)).rejects.toThrow(BlobMissingError)
      expect(await served.has(sha256)).toBe(false)
    }
  })
})
