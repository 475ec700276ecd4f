import type { LogRecord } from '../port/log.ts'
import { checkChunk, type Soundness } from './checksum.ts'
import { chunkCount } from './chunk.ts'
import { type Budget, readChunk } from './read-chunk.ts'
import type { ReadSpace } from './read-space.ts'
import { chunkKey, offsetOf, type Tables } from './tables.ts'

export interface StoredChunk {
  readonly topic_id: number
  readonly partition: number
  /** Offset of its first record, by its key. */
  readonly first: number
  readonly bytes: Buffer
  readonly soundness: Soundness
}

/** The chunk that contains `offset`, or else the one before it; checked against its checksum. */
export function chunkAt(
  tables: Tables,
  topic_id: number,
  partition: number,
  offset: number,
  space: ReadSpace,
): StoredChunk | undefined {
  const key = chunkKey(topic_id, partition, offset)
  // Continuing after a chunk asks for the first offset of the next one; a seek may ask for one inside a chunk.
  const exact = space.read(tables.chunks, key)
  if (exact !== undefined)
    return { topic_id, partition, first: offset, bytes: exact, soundness: checkChunk(exact, key) }
  for (const found of tables.chunks.getRange({ start: key, reverse: true, limit: 1 })) {
    // A key of another length is damage: it sorts here but does not name a chunk.
    if (found.key.byteLength !== key.byteLength || found.key.compare(key, 0, 8, 0, 8) !== 0) return undefined
    const [first, bytes] = [offsetOf(found.key), found.value]
    return { topic_id, partition, first, bytes, soundness: checkChunk(bytes, found.key) }
  }
  return undefined
}

/** The first offset of the first chunk after `offset`. */
export function nextChunk(tables: Tables, topic_id: number, partition: number, offset: number): number | undefined {
  const range = {
    start: chunkKey(topic_id, partition, offset + 1),
    end: chunkKey(topic_id, partition + 1, 0),
    limit: 1,
  }
  for (const key of tables.chunks.getKeys(range)) return offsetOf(key)
  return undefined
}

export interface Unreadable {
  readonly problem: string
}

/**
 * Appends the records from `offset` on to `into`, as `readChunk` does. `chunk` is what `chunkAt` returned for `offset`.
 *
 * @returns where to continue, or why the record at `offset` cannot be read
 */
export function readOn(
  chunk: StoredChunk | undefined,
  place: { readonly topic: string; readonly partition: number },
  offset: number,
  budget: Budget,
  into: LogRecord[],
): number | Unreadable {
  if (chunk?.soundness === 'damaged') return { problem: OTHER_BYTES }
  if (chunk === undefined || offset >= chunk.first + chunkCount(chunk.bytes)) return { problem: NOT_FOUND }
  const before = into.length
  try {
    return readChunk(chunk.bytes, { ...place, first: chunk.first }, offset, budget, into)
  } catch (error) {
    // Wrong lengths inside a record, in a chunk without a checksum.
    if (!(error instanceof RangeError)) throw error
    into.length = before
    return { problem: OTHER_BYTES }
  }
}

const OTHER_BYTES = 'the disk holds other bytes than were written'
const NOT_FOUND = 'no chunk holds them'
