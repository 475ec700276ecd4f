/**
 * The LZ4 frame format 1.6, as Kafka uses it (magic 2 records): independent or linked blocks, checksums optional.
 * In JavaScript, because the available packages compile native code or were last released years ago.
 */

const MAGIC = 0x184d2204
const BLOCK_BYTES = 64 * 1024
/** Version 1, independent blocks. */
const FLAGS = 0x60
/** Blocks of at most 64 KiB. */
const BLOCK_SIZE_CODE = 0x40
const STORED = 0x80000000
const MIN_MATCH = 4
/** The format's end rules: the last five bytes are literals, and no match starts in the last twelve. */
const LAST_LITERALS = 5
const MATCH_LIMIT = 12
const WINDOW = 65_535
const HASH_BITS = 13

export function lz4Compress(input: Buffer): Buffer {
  const parts: Buffer[] = []
  const head = Buffer.alloc(7)
  head.writeUInt32LE(MAGIC, 0)
  head[4] = FLAGS
  head[5] = BLOCK_SIZE_CODE
  head[6] = (xxHash32(head.subarray(4, 6)) >>> 8) & 0xff
  parts.push(head)
  for (let at = 0; at < input.length; at += BLOCK_BYTES) {
    const block = input.subarray(at, at + BLOCK_BYTES)
    const packed = compressBlock(block)
    const stored = packed === undefined
    const size = Buffer.alloc(4)
    size.writeUInt32LE(stored ? (STORED | block.length) >>> 0 : packed.length, 0)
    parts.push(size, stored ? block : packed)
  }
  parts.push(Buffer.alloc(4))
  return Buffer.concat(parts)
}

/** @throws Error when the bytes are not one or more whole LZ4 frames. */
export function lz4Decompress(input: Buffer, max_bytes?: number): Buffer {
  const out = new Grown(input.length * 4, max_bytes)
  for (let at = 0; at < input.length; ) at = readFrame(input, at, out)
  return out.bytes()
}

function readFrame(input: Buffer, start: number, out: Grown): number {
  let at = start
  if (input.readUInt32LE(at) !== MAGIC) throw new Error(`LZ4: expected a frame at byte ${at}`)
  const flags = input.readUInt8(at + 4)
  if (flags >> 6 !== 1) throw new Error(`LZ4: expected frame version 1, found ${flags >> 6}`)
  if ((flags & 0x01) !== 0) throw new Error('LZ4: expected a frame without a dictionary')
  at += 6 + ((flags & 0x08) !== 0 ? 8 : 0) + 1
  const checksum = (flags & 0x10) !== 0 ? 4 : 0
  for (;;) {
    const size = input.readUInt32LE(at)
    at += 4
    if (size === 0) break
    const length = size & 0x7fffffff
    if (at + length > input.length)
      throw new Error(`LZ4: a block of ${length} bytes ends beyond the ${input.length} there`)
    const block = input.subarray(at, at + length)
    if (size >= STORED) out.append(block)
    else expandBlock(block, out)
    at += length + checksum
  }
  return at + ((flags & 0x04) !== 0 ? 4 : 0)
}

function expandBlock(block: Buffer, out: Grown): void {
  let at = 0
  while (at < block.length) {
    const token = block[at++] as number
    let literals = token >> 4
    if (literals === 15) for (let more = 255; more === 255; literals += more) more = block[at++] as number
    out.append(block.subarray(at, at + literals))
    at += literals
    if (at >= block.length) return
    const offset = block.readUInt16LE(at)
    at += 2
    let length = (token & 15) + MIN_MATCH
    if ((token & 15) === 15) for (let more = 255; more === 255; length += more) more = block[at++] as number
    out.repeat(offset, length)
  }
}

/** One compressed block, or undefined if it would not be smaller. */
function compressBlock(block: Buffer): Buffer | undefined {
  const out = Buffer.alloc(block.length)
  const seen = new Int32Array(1 << HASH_BITS).fill(-1)
  let written = 0
  let literals_from = 0
  for (let at = 0; at + MATCH_LIMIT < block.length; ) {
    const word = block.readUInt32LE(at)
    const hash = Math.imul(word, 2654435761) >>> (32 - HASH_BITS)
    const candidate = seen[hash] as number
    seen[hash] = at
    if (candidate < 0 || at - candidate > WINDOW || block.readUInt32LE(candidate) !== word) {
      at += 1
      continue
    }
    let length = MIN_MATCH
    const longest = block.length - LAST_LITERALS - at
    while (length < longest && block[candidate + length] === block[at + length]) length += 1
    const end = writeSequence(out, written, block.subarray(literals_from, at), at - candidate, length)
    if (end < 0) return undefined
    written = end
    at += length
    literals_from = at
  }
  const end = writeSequence(out, written, block.subarray(literals_from), 0, 0)
  return end < 0 || end >= block.length ? undefined : out.subarray(0, end)
}

/** @returns where the next sequence starts, or −1 if there is no room. A length of 0 ends the block. */
function writeSequence(out: Buffer, start: number, literals: Buffer, offset: number, length: number): number {
  const worst = 1 + literals.length / 255 + 1 + literals.length + 2 + length / 255 + 1
  if (start + worst > out.length) return -1
  let at = start
  const match = length === 0 ? 0 : length - MIN_MATCH
  out[at++] = (Math.min(15, literals.length) << 4) | Math.min(15, match)
  at = writeLength(out, at, literals.length)
  at += literals.copy(out, at)
  if (length === 0) return at
  at = out.writeUInt16LE(offset, at)
  return writeLength(out, at, match)
}

function writeLength(out: Buffer, start: number, length: number): number {
  let at = start
  if (length < 15) return at
  let rest = length - 15
  for (; rest >= 255; rest -= 255) out[at++] = 255
  out[at++] = rest
  return at
}

/** A growing byte buffer that can repeat its own content. */
export class Grown {
  #held: Buffer
  #length = 0
  readonly #max_bytes: number

  /** @param max_bytes more than this throws an error with zlib's code `ERR_BUFFER_TOO_LARGE` */
  constructor(expected: number, max_bytes = Number.POSITIVE_INFINITY) {
    this.#held = Buffer.allocUnsafe(Math.max(64, expected))
    this.#max_bytes = max_bytes
  }

  append(bytes: Buffer): void {
    this.#room(bytes.length)
    this.#length += bytes.copy(this.#held, this.#length)
  }

  /** Appends `length` bytes, copied from `offset` bytes back; source and target may overlap. */
  repeat(offset: number, length: number): void {
    if (offset === 0 || offset > this.#length)
      throw new Error(`a match ${offset} bytes back, ${this.#length} are there`)
    this.#room(length)
    const to = this.#length
    if (offset >= length) this.#held.copy(this.#held, to, to - offset, to - offset + length)
    else for (let i = 0; i < length; i += 1) this.#held[to + i] = this.#held[to - offset + i] as number
    this.#length += length
  }

  bytes(): Buffer {
    return this.#held.subarray(0, this.#length)
  }

  #room(length: number): void {
    if (this.#length + length > this.#max_bytes) {
      throw Object.assign(new RangeError(`more than ${this.#max_bytes} bytes`), { code: 'ERR_BUFFER_TOO_LARGE' })
    }
    if (this.#length + length <= this.#held.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#held.length * 2, this.#length + length))
    this.#held.copy(larger, 0, 0, this.#length)
    this.#held = larger
  }
}

/** XXH32 with seed 0, for fewer than 16 bytes: a frame's header needs no more. */
function xxHash32(bytes: Buffer): number {
  const [p2, p3, p4, p5] = [2246822519, 3266489917, 668265263, 374761393]
  let hash = (p5 + bytes.length) | 0
  let at = 0
  for (; at + 4 <= bytes.length; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(bytes.readInt32LE(at), p3)) | 0, 17), p4)
  }
  for (; at < bytes.length; at += 1) {
    hash = Math.imul(rotate((hash + Math.imul(bytes[at] as number, p5)) | 0, 11), 2654435761)
  }
  hash = Math.imul(hash ^ (hash >>> 15), p2)
  hash = Math.imul(hash ^ (hash >>> 13), p3)
  return (hash ^ (hash >>> 16)) >>> 0
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}
