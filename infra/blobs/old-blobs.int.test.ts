import { utimes } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { blobFile, directoryBlobs } from './directory.ts'
import { deleteIfOld, oldBlobs } from './old-blobs.ts'

const DAY_MS = 86_400_000

async function aged(root: string, text: string) {
  const ref = await directoryBlobs(root).put(Buffer.from(text), 'text/plain')
  const then = new Date(Date.now() - 2 * DAY_MS)
  await utimes(blobFile(root, ref.sha256), then, then)
  return ref
}

async function old(root: string): Promise<string[]> {
  const found = []
  for await (const { sha256 } of oldBlobs(root, Date.now() - DAY_MS)) found.push(sha256)
  return found
}

test('a blob that is put again or asked for is young again, whoever asks', async () => {
  const root = await temporaryFolder()
  const [put, looked, left] = [await aged(root, 'put'), await aged(root, 'looked'), await aged(root, 'left')]
  expect((await old(root)).sort()).toEqual([put, looked, left].map(({ sha256 }) => sha256).sort())
  await directoryBlobs(root).put(Buffer.from('put'), 'text/plain')
  expect(await directoryBlobs(root).has(looked)).toBe(true)
  await directoryBlobs(root).get(left)
  expect(await old(root)).toEqual([left.sha256])
})

test('an old blob is deleted, and one that was used since it was found is not', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const [one, other] = [await aged(root, 'one'), await aged(root, 'other')]
  await blobs.put(Buffer.from('other'), 'text/plain')
  const before_ms = Date.now() - DAY_MS
  expect(await deleteIfOld(root, one.sha256, before_ms)).toBe(true)
  expect(await deleteIfOld(root, other.sha256, before_ms)).toBe(false)
  expect(await deleteIfOld(root, one.sha256, before_ms)).toBe(false)
  expect([await blobs.has(one), await blobs.has(other)]).toEqual([false, true])
  expect(Buffer.from(await blobs.get(other)).toString()).toBe('other')
})
