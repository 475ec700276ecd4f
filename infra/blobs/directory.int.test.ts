import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../../tests/temporary-folder.ts'
import { BlobCorruptError, BlobMissingError } from './blobs.ts'
import { directoryBlobs } from './directory.ts'

const BYTES = Buffer.from('a tower')
const ELSEWHERE = { sha256: 'e'.repeat(64), bytes: 1, media_type: 'text/plain' }

async function filesOf(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

test('what was put comes back, under the hash of its bytes', async () => {
  const blobs = directoryBlobs(await temporaryFolder())
  const ref = await blobs.put(BYTES, 'text/plain')
  expect(ref).toMatchObject({ bytes: 7, media_type: 'text/plain' })
  expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
  expect(await blobs.has(ref)).toBe(true)
  expect(await blobs.has(ELSEWHERE)).toBe(false)
})

test('the same bytes are one file, also when they are put at once, and nothing else stays behind', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const refs = await Promise.all(Array.from({ length: 20 }, () => blobs.put(BYTES, 'text/plain')))
  expect(new Set(refs.map((ref) => ref.sha256)).size).toBe(1)
  expect(await filesOf(root)).toHaveLength(1)
})

test('a blob that was changed on disk is noticed, with its file and both hashes', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const ref = await blobs.put(BYTES, 'text/plain')
  const [file] = await filesOf(root)
  await writeFile(String(file), 'a tOwer')
  await expect(blobs.get(ref)).rejects.toThrow(BlobCorruptError)
  await expect(blobs.get(ref)).rejects.toThrow(
    new RegExp(`expected SHA-256 ${ref.sha256}, its bytes have [0-9a-f]{64}`),
  )
})

test('a blob that is not there is one thing, a folder that is not there another', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  await expect(blobs.get(ELSEWHERE)).rejects.toThrow(BlobMissingError)
  await rm(root, { recursive: true })
  await expect(blobs.get(ELSEWHERE)).rejects.not.toThrow(BlobMissingError)
  await expect(blobs.get(ELSEWHERE)).rejects.toThrow(/is it mounted\?/)
})
