import { cp, mkdir, readdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { BlobCorruptError, BlobMissingError, BlobsAwayError } from './blobs.ts'
import { blobFile, directoryBlobs } from './directory.ts'
import { DirectoryStore } from './directory-store.ts'
import { refOf } from './hashing.ts'

const BYTES = Buffer.from('a tower')
const ELSEWHERE = { sha256: 'e'.repeat(64), bytes: 1, media_type: 'text/plain' }

/** All files except the store's own mark. */
async function filesOf(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name !== '.blob-store')
    .map((entry) => join(entry.parentPath, entry.name))
}

test('a blob is read back as it was put, under the hash of its bytes', async () => {
  const blobs = directoryBlobs(await temporaryFolder())
  const ref = await blobs.put(BYTES, 'text/plain')
  expect(ref).toMatchObject({ bytes: 7, media_type: 'text/plain' })
  expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
  expect(await blobs.has(ref)).toBe(true)
  expect(await blobs.has(ELSEWHERE)).toBe(false)
})

test('the same bytes, also put concurrently, are one file, and no other file remains', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const refs = await Promise.all(Array.from({ length: 20 }, () => blobs.put(BYTES, 'text/plain')))
  expect(new Set(refs.map((ref) => ref.sha256)).size).toBe(1)
  expect(await filesOf(root)).toHaveLength(1)
})

test('a blob that was changed on disk is detected, with its file and both hashes', async () => {
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

describe('an unavailable store is not a missing blob', () => {
  async function store() {
    const data = await temporaryFolder()
    const root = join(data, 'blobs')
    const made = join(data, 'made')
    const ref = await directoryBlobs(root, { made }).put(BYTES, 'text/plain')
    return { root, made, ref }
  }

  test('an available store reports a blob as missing', async () => {
    const { root, made } = await store()
    const blobs = directoryBlobs(root, { made })
    await expect(blobs.get(ELSEWHERE)).rejects.toThrow(BlobMissingError)
    expect(await blobs.has(ELSEWHERE)).toBe(false)
  })

  test.each([
    ['absent', (root: string) => rm(root, { recursive: true })],
    [
      'a mount point without its file system',
      async (root: string) => {
        await rm(root, { recursive: true })
        await mkdir(root)
      },
    ],
    [
      'replaced by a file',
      async (root: string) => {
        await rm(root, { recursive: true })
        await writeFile(root, '')
      },
    ],
  ])('the folder is %s: every call fails temporarily, in every process', async (_, takeAway) => {
    const { root, made, ref } = await store()
    await takeAway(root)
    const blobs = directoryBlobs(root, { made })
    await expect(blobs.get(ref)).rejects.toThrow(BlobsAwayError)
    await expect(blobs.get(ref)).rejects.toThrow(/is it mounted\?/)
    await expect(blobs.has(ref)).rejects.toThrow(BlobsAwayError)
    await expect(blobs.put(BYTES, 'text/plain')).rejects.toThrow(BlobsAwayError)
    expect(await filesOf(root).catch(() => [])).toEqual([])
    await rm(root, { recursive: true, force: true })
    await directoryBlobs(root).put(BYTES, 'text/plain')
    expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
  })

  test('a store that disappears during a put fails it temporarily; if it is back in time, the put succeeds', async () => {
    const { root, made } = await store()
    const blobs = directoryBlobs(root, { made })
    const ref = refOf(BYTES, 'text/plain')
    let writes = 0
    const whileWritten = (happens: () => Promise<void>) =>
      blobs.putStream(ref, async function* () {
        writes++
        yield BYTES
        await happens()
      })
    await expect(whileWritten(() => rename(root, `${root}.away`))).rejects.toThrow(BlobsAwayError)
    await rename(`${root}.away`, root)
    expect(writes).toBe(1)
    await whileWritten(async () => {
      if (writes > 2) return
      await rename(root, `${root}.away`)
      await cp(`${root}.away`, root, { recursive: true, filter: (path) => !basename(path).startsWith('.') })
    })
    expect(writes).toBe(3)
    expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
  })

  test('a path that stays absent in an available store is a separate error, which names it', async () => {
    const { root, made, ref } = await store()
    await rm(root, { recursive: true })
    await mkdir(join(root, 'ff'), { recursive: true })
    await symlink(join(root, 'nowhere'), dirname(blobFile(root, ref.sha256)))
    await expect(directoryBlobs(root, { made }).put(BYTES, 'text/plain')).rejects.toThrow(/ENOENT.*\/\./)
  })

  test('a folder that never held a blob is a new store to put and has, and an unavailable one to get', async () => {
    const { root: _, ...data } = await store()
    const root = join(data.made, '..', 'other')
    expect(await directoryBlobs(root).has(ELSEWHERE)).toBe(false)
    await expect(directoryBlobs(root).get(ELSEWHERE)).rejects.toThrow(BlobsAwayError)
    await directoryBlobs(root).put(BYTES, 'text/plain')
    await expect(directoryBlobs(root).get(ELSEWHERE)).rejects.toThrow(BlobMissingError)
  })

  test('once a person declares the blobs lost, they are missing, and new ones can be put', async () => {
    const { root, made, ref } = await store()
    await rm(root, { recursive: true })
    const blobs = directoryBlobs(root, { made })
    const { message } = (await blobs.get(ref).catch((error: unknown) => error)) as Error
    const [, file = ''] = /create the file (\S+):/.exec(message) ?? []
    await mkdir(root)
    await writeFile(file, '')
    await expect(blobs.get(ref)).rejects.toThrow(BlobMissingError)
    expect(await blobs.put(BYTES, 'text/plain')).toEqual(ref)
  })

  test('a folder where a blob should be is a damaged blob', async () => {
    const { root, ref } = await store()
    const [file = ''] = await filesOf(root)
    await rm(file)
    await mkdir(file)
    await expect(directoryBlobs(root).get(ref)).rejects.toThrow(BlobCorruptError)
  })
})

test('a new store accepts concurrent puts of several processes, also after one was killed while creating the folder', async () => {
  const parent = await temporaryFolder()
  const [root, made] = [join(parent, 'blobs'), join(parent, 'made')]
  // The state after a process is killed between creating the folder and marking it.
  await mkdir(root)
  const stores = Array.from({ length: 4 }, () => directoryBlobs(root, { made }))
  const puts = stores.flatMap((store, at) =>
    Array.from({ length: 50 }, (_, blob) => store.put(Buffer.from(`${at}/${blob}`), 'text/plain')),
  )
  const refs = await Promise.all(puts)
  for (const ref of refs) expect(await stores[0]?.has(ref)).toBe(true)
})

test('a store that another process is just creating is not treated as unavailable', async () => {
  const parent = await temporaryFolder()
  const [root, made] = [join(parent, 'blobs'), join(parent, 'made')]
  const other = new DirectoryStore(root, made)
  let looks = 0
  const store = new (class extends DirectoryStore {
    override async isThere() {
      const there = await super.isThere()
      if (looks++ === 0) await other.prepare()
      return there
    }
  })(root, made)
  await store.prepare()
  expect(looks).toBeGreaterThan(0)
  expect(await store.isAway()).toBe(false)
})

test('a put over a damaged blob repairs it', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const ref = await blobs.put(BYTES, 'text/plain')
  const [file = ''] = await filesOf(root)
  for (const damage of ['a tOwer', '', 'a tower and more']) {
    await writeFile(file, damage)
    await blobs.put(BYTES, 'text/plain')
    expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
  }
})

test('a link in the place of a blob, or of its folder, does not lead out of the store', async () => {
  const [root, outside] = [await temporaryFolder(), await temporaryFolder()]
  const blobs = directoryBlobs(root)
  const ref = await blobs.put(BYTES, 'text/plain')
  const [file = ''] = await filesOf(root)
  const [away, folder] = [join(outside, 'copy'), dirname(file)]
  await writeFile(away, BYTES)
  await rm(file)
  await symlink(away, file)
  await expect(blobs.get(ref)).rejects.toThrow(/expected a file, found a link/)
  await blobs.put(BYTES, 'text/plain')
  expect(Buffer.from(await blobs.get(ref))).toEqual(BYTES)
  await rename(folder, join(outside, 'folder'))
  await symlink(join(outside, 'folder'), folder)
  await expect(blobs.get(ref)).rejects.toThrow(/found a link at/)
})

test('a file that is too large to be read is a damaged blob', async () => {
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const ref = await blobs.put(Buffer.from('small'), 'text/plain')
  await truncate(blobFile(root, ref.sha256), 3 * 2 ** 30)
  await expect(blobs.get(ref)).rejects.toThrow(BlobCorruptError)
  expect(await blobs.put(Buffer.from('small'), 'text/plain')).toEqual(ref)
  expect(Buffer.from(await blobs.get(ref)).toString()).toBe('small')
})
