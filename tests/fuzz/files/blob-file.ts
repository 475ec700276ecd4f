import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { random } from '../../../environments/tower/random.ts'
import { BlobCorruptError, type BlobStore, type Blobs } from '../../../infra/blobs/blobs.ts'
import { cachedBlobs } from '../../../infra/blobs/cached.ts'
import { blobFile, directoryBlobs } from '../../../infra/blobs/directory.ts'
import { DiskCache } from '../../../infra/blobs/disk-cache.ts'
import { httpBlobs } from '../../../infra/blobs/http.ts'
import { serveBlobs } from '../../../infra/blobs/server.ts'
import type { Listening } from '../../../infra/http/listen.ts'
import type { BlobRef } from '../../../schemas/declare/logical-types.ts'
import { damaged } from './damage.ts'
import type { Target } from './target.ts'

/** Smaller than a page, of some pages, and of more than a reader takes at once. */
const SIZES = [1, 300, 4096, 20_001, 200_000]
const TOKEN = 'of the fuzz test'
const MEDIA_TYPE = 'application/octet-stream'

interface Stored {
  readonly ref: BlobRef
  readonly bytes: Buffer
}

/**
 * A blob in a folder. It is read from the folder, in pieces, through a server, and as the cached copy of an intact
 * store: each returns the right bytes or reports that they were changed. Putting the bytes again repairs it.
 */
export class BlobFile implements Target {
  readonly name = 'blobs'
  readonly #root: string
  readonly #folder: BlobStore
  readonly #stored: readonly Stored[]
  readonly #server: Listening
  readonly #http: Blobs
  readonly #cached: Blobs
  readonly #cache: string

  private constructor(dir: string, whole: Blobs, stored: readonly Stored[], server: Listening) {
    this.#root = join(dir, 'served')
    this.#folder = directoryBlobs(this.#root)
    this.#stored = stored
    this.#server = server
    this.#http = httpBlobs({ url: `http://${server.address}`, token: TOKEN })
    this.#cache = join(dir, 'cache')
    const cache = new DiskCache(this.#cache, 2 ** 30)
    this.#cached = cachedBlobs({ there: whole, cache, own: directoryBlobs(join(dir, 'own')) })
  }

  /** @param dir a separate folder */
  static async make(dir: string): Promise<BlobFile> {
    const draw = random('fuzz', 'blobs')
    const [root, cache, own] = [join(dir, 'served'), join(dir, 'cache'), join(dir, 'own')]
    const whole = directoryBlobs(join(dir, 'whole'))
    const stored: Stored[] = []
    for (const size of SIZES) {
      const bytes = Buffer.from(Array.from({ length: size }, () => draw.integer(0, 255)))
      stored.push({ ref: await whole.put(bytes, MEDIA_TYPE), bytes })
    }
    for (const copy of [root, cache, own]) cpSync(join(dir, 'whole'), copy, { recursive: true })
    const server = await serveBlobs({ root, host: '127.0.0.1', port: 0, token: TOKEN })
    return new BlobFile(dir, whole, stored, server)
  }

  attempt: Target['attempt'] = async (draw, kind, trying) => {
    const at = draw.integer(0, this.#stored.length - 1)
    const { ref, bytes } = this.#stored[at] as Stored
    const { bytes: other, what } = damaged(draw, kind, bytes)
    trying(`the blob of ${bytes.byteLength} bytes: ${what}`)
    const path = blobFile(this.#root, ref.sha256)
    const copies = [path, blobFile(this.#cache, ref.sha256)]
    for (const copy of copies) writeFileSync(copy, other)
    const is_same = other.equals(bytes)
    const told = [
      await this.#read(this.#folder.get(ref), bytes),
      await this.#read(inPieces(this.#folder, ref), bytes),
      await this.#read(this.#http.get(ref), bytes),
    ]
    if (told.some((one) => one !== (is_same ? 'the right bytes' : 'damage named'))) {
      throw new Error(
        `the folder, in pieces, the server: ${told.join(', ')}; the bytes are ${is_same ? 'the same' : 'others'}`,
      )
    }
    const cached = await this.#read(this.#cached.get(ref), bytes)
    if (cached !== 'the right bytes') throw new Error(`a damaged copy of a blob that its store has: ${cached}`)
    for (const [index, one] of this.#stored.entries()) {
      if (index !== at && (await this.#read(this.#folder.get(one.ref), one.bytes)) !== 'the right bytes') {
        throw new Error(`the blob of ${one.bytes.byteLength} bytes, which is whole: damage named`)
      }
    }
    await (draw.uniform() < 0.5 ? this.#folder : this.#http).put(bytes, MEDIA_TYPE)
    if ((await this.#read(this.#folder.get(ref), bytes)) !== 'the right bytes')
      throw new Error('put again: still damaged')
    return told[0] as string
  }

  async close(): Promise<void> {
    await this.#server.close()
  }

  async #read(got: Promise<Uint8Array>, bytes: Buffer): Promise<string> {
    try {
      if (!bytes.equals(await got)) throw new Error('other bytes than were put')
      return 'the right bytes'
    } catch (cause) {
      if (!(cause instanceof BlobCorruptError)) throw cause
      if (!/expected .*;/s.test(cause.message)) throw new Error(`refused without words: ${cause.message}`)
      return 'damage named'
    }
  }
}

async function inPieces(store: BlobStore, ref: BlobRef): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of store.getStream(ref)) pieces.push(piece)
  return Buffer.concat(pieces)
}
