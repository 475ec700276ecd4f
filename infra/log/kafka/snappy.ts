import { uncompressSync } from 'snappy'
import { tooLarge } from './too-large.ts'

/** Java's SnappyOutputStream puts this before its blocks, then two version numbers. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEAD_BYTES = 16

/**
 * For reading batches of other producers: this driver never writes snappy.
 *
 * @throws RangeError when they hold more than `max_bytes`
 * @throws Error when the bytes are damaged
 */
export function snappyDecompress(input: Buffer, max_bytes: number): Buffer {
  let left = max_bytes
  const expand = (block: Buffer) => {
    left -= lengthOf(block)
    if (left < 0) throw tooLarge(max_bytes)
    return uncompressSync(block) as Buffer
  }
  if (!input.subarray(0, XERIAL.length).equals(XERIAL)) return expand(input)
  const blocks: Buffer[] = []
  for (let at = XERIAL_HEAD_BYTES; at < input.length; ) {
    const length = input.readUInt32BE(at)
    at += 4
    if (at + length > input.length)
      throw new Error(`snappy: a block of ${length} bytes ends beyond the ${input.length} there`)
    blocks.push(expand(input.subarray(at, at + length)))
    at += length
  }
  return Buffer.concat(blocks)
}

/** A block begins with the length of its content, a varint of up to five bytes. */
function lengthOf(block: Buffer): number {
  let length = 0
  for (let at = 0; at < 5; at++) {
    const byte = block.readUInt8(at)
    length += (byte & 0x7f) * 2 ** (7 * at)
    if (byte < 0x80) return length
  }
  throw new Error('snappy: a block without a length')
}
