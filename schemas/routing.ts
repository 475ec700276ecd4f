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
  const { read, written } = ENCODER.encodeInto(key, SCRATCH)
  const bytes = read === key.length ? SCRATCH.subarray(0, written) : Buffer.from(key, 'utf8')
  return (murmur2(bytes) & 0x7fffffff) % partitions
}

const ENCODER = new TextEncoder()
/** For keys of ordinary length, so that a lookup allocates nothing of its own. */
const SCRATCH = new Uint8Array(256)

const SEED = 0x9747b28c
const M = 0x5bd1e995
const R = 24

/** MurmurHash2 of 32 bits (Austin Appleby, public domain) with the seed that Kafka uses; signed, as in Java. */
export function murmur2(bytes: Uint8Array): number {
  const { length } = bytes
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  let hash = SEED ^ length
  const tail = length & ~3
  for (let at = 0; at < tail; at += 4) {
    let block = Math.imul(view.getInt32(at, true), M)
    block = Math.imul(block ^ (block >>> R), M)
    hash = Math.imul(hash, M) ^ block
  }
  const rest = length - tail
  if (rest >= 3) hash ^= view.getUint8(tail + 2) << 16
  if (rest >= 2) hash ^= view.getUint8(tail + 1) << 8
  if (rest >= 1) hash = Math.imul(hash ^ view.getUint8(tail), M)
  hash = Math.imul(hash ^ (hash >>> 13), M)
  return hash ^ (hash >>> 15)
}
