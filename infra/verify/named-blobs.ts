import type { BlobRef, ImageRef } from '../../schemas/declare/logical-types.ts'
import { BlobCorruptError, BlobMissingError, type Blobs, BlobsAwayError } from '../blobs/blobs.ts'
import { pixelsOf } from '../blobs/pixels.ts'
import { Findings } from './difference.ts'

export interface BlobsReport {
  /** Distinct blobs that records reference. */
  readonly named: number
  /** How many of them were read and match their hash; 0 when blobs are not read. */
  readonly read: number
  readonly bytes: number
  /** False: the references were collected, but no blob was read. */
  readonly were_read: boolean
  readonly differences: number
  readonly found: Findings['named']
}

/** At most this many are read concurrently. */
const AT_ONCE = 16

/** Collects the blobs that records reference and, if asked to, reads each once. */
export class NamedBlobs {
  readonly #blobs: Blobs
  readonly #reads: boolean
  /** Sizes by hash. Each key is 32 characters, one per byte, since there may be millions. */
  readonly #seen = new Map<string, number>()
  readonly #reading = new Set<Promise<void>>()
  readonly #findings = new Findings('blobs')
  #read = 0
  #bytes = 0
  #away = false

  constructor(blobs: Blobs, how: { readonly read: boolean }) {
    this.#blobs = blobs
    this.#reads = how.read
  }

  get were_read(): boolean {
    return this.#reads
  }

  /** @param where the record that references it */
  async name(ref: BlobRef, where: string): Promise<void> {
    const hash = Buffer.from(ref.sha256, 'hex').toString('latin1')
    const known = this.#seen.get(hash)
    if (known === undefined) this.#seen.set(hash, ref.bytes)
    else if (known === ref.bytes) return
    else
      this.#findings.add(
        'blob',
        where,
        `names blob ${ref.sha256} with ${ref.bytes} bytes, another record with ${known}`,
      )
    if (!this.#reads || this.#away) return
    while (this.#reading.size >= AT_ONCE) await Promise.race(this.#reading)
    const reading = this.#check(ref, where).finally(() => this.#reading.delete(reading))
    this.#reading.add(reading)
  }

  async #check(ref: BlobRef, where: string): Promise<void> {
    const problem = await this.#get(ref)
    if (problem instanceof Uint8Array) {
      this.#read++
      this.#bytes += problem.byteLength
      if (problem.byteLength !== ref.bytes)
        this.#findings.add(
          'blob',
          where,
          `names blob ${ref.sha256} with ${ref.bytes} bytes, it has ${problem.byteLength}`,
        )
      return
    }
    if (problem instanceof BlobsAwayError) {
      if (this.#away) return
      this.#away = true
    }
    this.#findings.add('blob', where, problem.message)
  }

  async #get(ref: BlobRef): Promise<Uint8Array | BlobMissingError | BlobCorruptError | BlobsAwayError> {
    try {
      return await this.#blobs.get(ref)
    } catch (error) {
      const is_of_blobs = [BlobMissingError, BlobCorruptError, BlobsAwayError].some((kind) => error instanceof kind)
      if (is_of_blobs) return error as BlobMissingError
      throw error
    }
  }

  /** @throws BlobMissingError, BlobCorruptError, BlobsAwayError */
  async bytesOf(ref: BlobRef): Promise<Uint8Array> {
    return await this.#blobs.get(ref)
  }

  /** Why an image does not show the pixels that its reference claims; undefined when it does. */
  async problemOf(image: ImageRef): Promise<string | undefined> {
    const bytes = await this.#get(image)
    if (!(bytes instanceof Uint8Array)) return bytes.message
    try {
      const { width, height, pixels_sha256 } = await pixelsOf(bytes)
      if (pixels_sha256 === image.pixels_sha256 && width === image.width && height === image.height) return undefined
      return `image ${image.sha256} is ${width}×${height} with pixels ${pixels_sha256}, its reference says ${image.width}×${image.height} with ${image.pixels_sha256}`
    } catch (error) {
      return `image ${image.sha256} cannot be decoded: ${(error as Error).message}`
    }
  }

  async report(): Promise<BlobsReport> {
    await Promise.all(this.#reading)
    const { count: differences, named: found } = this.#findings
    return {
      named: this.#seen.size,
      read: this.#read,
      bytes: this.#bytes,
      were_read: this.#reads,
      differences,
      found,
    }
  }
}
