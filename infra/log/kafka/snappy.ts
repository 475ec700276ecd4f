import { Grown } from './lz4.ts'

/** Java's SnappyOutputStream puts this before its blocks, then two version numbers. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEAD_BYTES = 16

/** For reading batches of other producers: this driver never writes snappy. */
export function snappyDecompress(input: Buffer, max_bytes?: number): Buffer {
  const out = new Grown(input.length * 3, max_bytes)
  if (!input.subarray(0, XERIAL.length).equals(XERIAL)) {
    expand(input, out)
    return out.bytes()
  }
  for (let at = XERIAL_HEAD_BYTES; at < input.length; ) {
    const length = input.readUInt32BE(at)
    at += 4
    if (at + length > input.length)
      throw new Error(`snappy: a block of ${length} bytes ends beyond the ${input.length} there`)
    expand(input.subarray(at, at + length), out)
    at += length
  }
  return out.bytes()
}

function expand(block: Buffer, out: Grown): void {
  let at = 0
  // Skip the total length before the first element: the elements imply it.
  while ((block[at++] as number) >= 0x80);
  while (at < block.length) {
    const tag = block[at++] as number
    const kind = tag & 3
    if (kind === 0) {
      let length = (tag >> 2) + 1
      if (length > 60) {
        const bytes = length - 60
        length = block.readUIntLE(at, bytes) + 1
        at += bytes
      }
      if (at + length > block.length) throw new Error(`snappy: ${length} bytes at ${at} of ${block.length}`)
      out.append(block.subarray(at, at + length))
      at += length
    } else if (kind === 1) {
      out.repeat(((tag >> 5) << 8) | block.readUInt8(at), ((tag >> 2) & 7) + 4)
      at += 1
    } else if (kind === 2) {
      out.repeat(block.readUInt16LE(at), (tag >> 2) + 1)
      at += 2
    } else {
      out.repeat(block.readUInt32LE(at), (tag >> 2) + 1)
      at += 4
    }
  }
}
