import { checkChunk } from './checksum.ts'
import { chunkCount } from './chunk.ts'
import type { PageFile } from './page-file.ts'
import { readChunk } from './read-chunk.ts'
import { bytesAt, type Copy, type Salvage } from './salvage.ts'
import { offsetOf } from './tables.ts'

export interface SoundChunk {
  readonly bytes: Buffer
  readonly copy: Copy
  readonly has_checksum: boolean
}

/** The chunks that a damaged data file holds. */
export class SalvagedChunks {
  /** First offsets, by `topic number/partition`. */
  readonly firsts: ReadonlyMap<string, number[]>
  readonly #file: PageFile
  readonly #found: Salvage['chunks']

  constructor(file: PageFile, found: Salvage['chunks']) {
    this.#file = file
    this.#found = found
    const firsts = new Map<string, number[]>()
    for (const hex of found.keys()) {
      const key = Buffer.from(hex, 'hex')
      const place = `${key.readUInt32BE(0)}/${key.readUInt32BE(4)}`
      const of_place = firsts.get(place)
      if (of_place === undefined) firsts.set(place, [offsetOf(key)])
      else of_place.push(offsetOf(key))
    }
    this.firsts = firsts
  }

  isInTree(key: Buffer): boolean {
    return this.#found.get(key.toString('hex'))?.[0]?.in_tree === true
  }

  /**
   * The first whole copy of a chunk.
   *
   * @param bound the offset that its records may not reach beyond
   */
  sound(key: Buffer, bound = Number.MAX_SAFE_INTEGER): SoundChunk | undefined {
    for (const copy of this.#found.get(key.toString('hex')) ?? []) {
      const bytes = bytesAt(this.#file, copy)
      const soundness = bytes === undefined ? 'damaged' : checkChunk(bytes, key)
      if (bytes === undefined || soundness === 'damaged' || (soundness === 'unchecksummed' && !copy.in_tree)) continue
      const to = offsetOf(key) + chunkCount(bytes)
      if (chunkCount(bytes) === 0 || to > bound || !canBeRead(bytes)) continue
      return { bytes, copy, has_checksum: soundness === 'sound' }
    }
    return undefined
  }
}

/** Lengths inside the records of a chunk without a checksum may contradict each other. */
function canBeRead(bytes: Buffer): boolean {
  try {
    readChunk(bytes, { topic: '', partition: 0, first: 0 }, 0, { bytes: Infinity, at_least_one: true }, [])
    return true
  } catch {
    return false
  }
}
