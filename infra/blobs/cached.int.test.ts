import { readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { BlobMissingError, type Blobs, BlobsAwayError } from './blobs.ts'
import { cachedBlobs } from './cached.ts'
import { bytesOf } from './conformance/steps.ts'
import { blobFile, directoryBlobs } from './directory.ts'
import { DiskCache } from './disk-cache.ts'

const MAX_BYTES = 200_000
const BLOB_BYTES = 5_000
const BYTES = Buffer.from('a tower')
const blobs = Array.from({ length: 100 }, (_, at) => bytesOf(`blob ${at}`, BLOB_BYTES))

async function folders() {
  const [root, far] = [await temporaryFolder(), await temporaryFolder()]
  const [cache_root, own_root] = [join(root, 'blob-cache'), join(root, 'blobs')]
  const gets: string[] = []
  const store = directoryBlobs(far)
  const there: Blobs = {
    ...store,
    get: (ref, call) => {
      gets.push(ref.sha256)
      return store.get(ref, call)
    },
  }
  const own = directoryBlobs(own_root)
  const open = (through = there) => cachedBlobs({ there: through, cache: new DiskCache(cache_root, MAX_BYTES), own })
  return { cache_root, own, there, store, gets, open }
}

async function sizeOf(root: string): Promise<number> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const sizes = await Promise.all(files.map(async (file) => (await stat(file).catch(() => undefined))?.size ?? 0))
  return sizes.reduce((sum, size) => sum + size, 0)
}

const UNREACHABLE: Blobs = {
  put: () => Promise.reject(new BlobsAwayError('away')),
  get: () => Promise.reject(new BlobsAwayError('away')),
  has: () => Promise.reject(new BlobsAwayError('away')),
}

test('a blob that was read or put once is served from the cache, also to another process and during an outage', async () => {
  const { open, store, gets } = await folders()
  const ref = await store.put(BYTES, 'text/plain')
  expect(Buffer.from(await open().get(ref))).toEqual(BYTES)
  expect(Buffer.from(await open().get(ref))).toEqual(BYTES)
  const put = await open().put(Buffer.from('put'), 'text/plain')
  expect(Buffer.from(await store.get(put)).toString()).toBe('put')
  for (const one of [ref, put]) {
    expect(await open(UNREACHABLE).has(one)).toBe(true)
    await open(UNREACHABLE).get(one)
  }
  expect(gets).toEqual([ref.sha256])
})

test('a put that the store rejects is not cached', async () => {
  const { open, store } = await folders()
  const cached = open(UNREACHABLE)
  await expect(cached.put(BYTES, 'text/plain')).rejects.toThrow(BlobsAwayError)
  const ref = { ...(await store.put(BYTES, 'text/plain')) }
  await store.delete(ref)
  expect(await open().has(ref)).toBe(false)
  await expect(open().get(ref)).rejects.toThrow(BlobMissingError)
})

test('the cache stays within its limit, and keeps what was used last', async () => {
  const { open, cache_root, gets, store } = await folders()
  const cached = open()
  const [first, ...others] = await Promise.all(blobs.map((bytes) => store.put(bytes, 'image/png')))
  if (first === undefined) throw new Error('there are blobs')
  for (const ref of others) {
    await cached.get(first)
    await cached.get(ref)
    expect(await sizeOf(cache_root)).toBeLessThan(MAX_BYTES * 1.05 + BLOB_BYTES)
  }
  expect(await sizeOf(cache_root)).toBeGreaterThan(MAX_BYTES * 0.8)
  expect(gets.filter((sha256) => sha256 === first.sha256)).toHaveLength(1)
})

test('several handles share the folder while it is trimmed: every read is right, the limit holds', async () => {
  const { open, cache_root, store } = await folders()
  const refs = await Promise.all(blobs.map((bytes) => store.put(bytes, 'image/png')))
  const read = async (step: number) => {
    const cached = open()
    for (let turn = 0; turn < 150; turn++) {
      const at = (turn * step) % blobs.length
      const ref = refs[at]
      if (ref !== undefined) expect(blobs[at]?.equals(await cached.get(ref))).toBe(true)
    }
  }
  await Promise.all([7, 11, 13].map(read))
  expect(await sizeOf(cache_root)).toBeLessThan(MAX_BYTES * 1.15 + 3 * BLOB_BYTES)
})

test('a damaged copy is read from the store again, and replaced', async () => {
  const { open, cache_root, gets, store } = await folders()
  const ref = await store.put(BYTES, 'text/plain')
  await open().get(ref)
  await writeFile(blobFile(cache_root, ref.sha256), 'a tOwer')
  expect(Buffer.from(await open().get(ref))).toEqual(BYTES)
  expect(gets).toHaveLength(2)
  expect(Buffer.from(await open(UNREACHABLE).get(ref))).toEqual(BYTES)
})

test('a cache that cannot be written costs nothing but time', async () => {
  const { open, cache_root, store } = await folders()
  const ref = await store.put(BYTES, 'text/plain')
  await writeFile(cache_root, 'not a folder')
  const cached = open()
  expect(Buffer.from(await cached.get(ref))).toEqual(BYTES)
  expect(await cached.put(BYTES, 'text/plain')).toEqual(ref)
  expect(await cached.has(ref)).toBe(true)
})

test('a cache that is deleted while in use is recreated', async () => {
  const { open, cache_root, store } = await folders()
  const ref = await store.put(BYTES, 'text/plain')
  const cached = open()
  await cached.get(ref)
  await rm(cache_root, { recursive: true })
  for (let turn = 0; turn < 3; turn++) expect(Buffer.from(await cached.get(ref))).toEqual(BYTES)
  expect(Buffer.from(await open(UNREACHABLE).get(ref))).toEqual(BYTES)
})

test('blobs that the data folder had before are read, and never deleted', async () => {
  const { open, own, store } = await folders()
  const mine = await own.put(BYTES, 'text/plain')
  const cached = open()
  for (const bytes of blobs) await cached.get(await store.put(bytes, 'image/png'))
  expect(await cached.has(mine)).toBe(true)
  expect(Buffer.from(await cached.get(mine))).toEqual(BYTES)
})
