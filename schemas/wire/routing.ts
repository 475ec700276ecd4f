import type { EventType } from '../declare/event.ts'
import { type Partitions, partitionsOf } from './partitions.ts'
import { SHORT, writeShortAscii } from './short-text.ts'

/**
 * The partition of a key: Kafka's Java default, `toPositive(murmur2(utf8(key))) % partitions`, on every driver, so
 * that a log can be copied to Kafka and written by any Kafka client.
 *
 * @throws RangeError when `partitions` is not a positive integer
 */
export function partitionOf(key: string, partitions: number): number {
  if (!Number.isInteger(partitions) || partitions < 1) {
    throw new RangeError(`partitions: expected a positive integer, got ${partitions}`)
  }
  const hash = writeShortAscii(SCRATCH, 0, key) ? murmur2(SCRATCH, key.length) : murmur2(Buffer.from(key, 'utf8'))
  return (hash & 0x7fffffff) % partitions
}

/** The partitions that an event with this key is appended to, as its declaration routes it. */
export function homesOf({ type, routing }: EventType, key: string, partitions: Partitions): readonly number[] {
  const count = partitionsOf(partitions, type)
  return routing === 'every_partition' ? Array.from({ length: count }, (_, at) => at) : [partitionOf(key, count)]
}

/** Reused for short ASCII keys, so that a lookup allocates nothing. */
const SCRATCH = Buffer.alloc(SHORT)

const SEED = 0x9747b28c
const M = 0x5bd1e995
const R = 24

/** MurmurHash2 of 32 bits (Austin Appleby, public domain) with the seed that Kafka uses; signed, as in Java. */
export function murmur2(bytes: Uint8Array, length = bytes.length): number {
  let hash = SEED ^ length
  const tail = length & ~3
  for (let at = 0; at < tail; at += 4) {
    const word = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16)
    let block = Math.imul(word | ((bytes[at + 3] as number) << 24), M)
    block = Math.imul(block ^ (block >>> R), M)
    hash = Math.imul(hash, M) ^ block
  }
  const rest = length - tail
  if (rest >= 3) hash ^= (bytes[tail + 2] as number) << 16
  if (rest >= 2) hash ^= (bytes[tail + 1] as number) << 8
  if (rest >= 1) hash = Math.imul(hash ^ (bytes[tail] as number), M)
  hash = Math.imul(hash ^ (hash >>> 13), M)
  return hash ^ (hash >>> 15)
}
