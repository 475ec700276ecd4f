/**
 * Randomness as a value: a key fully determines a stream, so the draw for scene 7 of seed "a" is the same in every
 * process, in any order, on any machine.
 *
 * Streams are xoshiro128** 1.1 (Blackman and Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 2021);
 * its 128-bit state is four MurmurHash3_x86_32 hashes (Appleby, 2008) of the key. Both use only 32-bit integer
 * arithmetic, which is exact in JavaScript.
 */

export interface Random {
  /** The next 32 bits, 0 … 2³²−1. */
  uint32(): number
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number
  /** Uniform integer in [low, high], both ends included, without modulo bias. */
  integer(low: number, high: number): number
  /** Standard normal deviate (Marsaglia's polar method; the spare is discarded, so that calls share no state). */
  normal(): number
  /** The items in a uniformly random order (Fisher and Yates); the argument is not changed. */
  shuffled<T>(items: readonly T[]): T[]
}

/**
 * A stream of random numbers named by `key`. Equal keys give equal streams; parts are length-prefixed, so that
 * ('ab', 'c') and ('a', 'bc') are different keys.
 */
export function random(...key: readonly (string | number)[]): Random {
  const bytes = encodeKey(key)
  return xoshiro128(murmur3(bytes, 1), murmur3(bytes, 2), murmur3(bytes, 3), murmur3(bytes, 4))
}

/** A stream from an explicit state of four 32-bit words, not all zero: for the golden test against the reference. */
export function xoshiro128(seed0: number, seed1: number, seed2: number, seed3: number): Random {
  let s0 = seed0 | 0
  let s1 = seed1 | 0
  let s2 = seed2 | 0
  let s3 = seed3 | 0
  if ((s0 | s1 | s2 | s3) === 0) s0 = 1 // the one state that xoshiro never leaves

  function uint32(): number {
    const scrambled = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9)
    const shifted = s1 << 9
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = rotateLeft(s3, 11)
    return scrambled >>> 0
  }

  function uniform(): number {
    const high = uint32() >>> 5
    const low = uint32() >>> 6
    return (high * 0x4000000 + low) / 0x20000000000000
  }

  function integer(low: number, high: number): number {
    const count = high - low + 1
    if (!Number.isSafeInteger(low) || !(count >= 1 && count <= 0x100000000)) {
      throw new RangeError(`random.integer: expected integers low <= high less than 2^32 apart, got ${low} and ${high}`)
    }
    const limit = 0x100000000 - (0x100000000 % count)
    let bits = uint32()
    while (bits >= limit) bits = uint32()
    return low + (bits % count)
  }

  function normal(): number {
    for (;;) {
      const x = 2 * uniform() - 1
      const y = 2 * uniform() - 1
      const square = x * x + y * y
      if (square > 0 && square < 1) return x * Math.sqrt((-2 * Math.log(square)) / square)
    }
  }

  function shuffled<T>(items: readonly T[]): T[] {
    const order = [...items]
    for (let last = order.length - 1; last > 0; last--) {
      const other = integer(0, last)
      const kept = order[last] as T
      order[last] = order[other] as T
      order[other] = kept
    }
    return order
  }

  return { uint32, uniform, integer, normal, shuffled }
}

/**
 * MurmurHash3_x86_32 of UTF-8 text or bytes, as an unsigned 32-bit integer.
 * Source: Appleby's reference `MurmurHash3.cpp`, public domain.
 */
export function murmur3(input: string | Uint8Array, seed: number): number {
  const bytes = typeof input === 'string' ? new TextEncoder().encode(input) : input
  const blocks = bytes.length & ~3
  let hash = seed | 0
  for (let at = 0; at < blocks; at += 4) {
    const word =
      byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8) | (byteAt(bytes, at + 2) << 16) | (byteAt(bytes, at + 3) << 24)
    hash = Math.imul(rotateLeft(hash ^ mixWord(word), 13), 5) + 0xe6546b64
  }
  let tail = 0
  for (let at = bytes.length - 1; at >= blocks; at--) tail = (tail << 8) | byteAt(bytes, at)
  hash ^= mixWord(tail) ^ bytes.length
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

function mixWord(word: number): number {
  return Math.imul(rotateLeft(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593)
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] as number
}

function encodeKey(key: readonly (string | number)[]): Uint8Array {
  return new TextEncoder().encode(key.map((part) => `${String(part).length}:${part}`).join(''))
}
