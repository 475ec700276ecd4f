import { compressFrame, compressFrameSync, decompressFrameSync } from 'lz4-napi'
import { tooLarge } from './too-large.ts'

/** LZ4 frames of independent blocks, the only kind that Kafka's own clients read. */
export const lz4Compress = (records: Buffer): Buffer => compressFrameSync(records)
/** The same on another thread. */
export const inThreadLz4 = (records: Buffer): Promise<Buffer> => compressFrame(records)

/**
 * The package expands the first frame only, and without a limit; so frames are separated here, and what they can hold
 * at most follows from their blocks. That bound is exact to one block, of 4 MiB or less.
 *
 * @throws RangeError when they can hold more than `max_bytes`
 * @throws Error when the bytes are not one or more whole LZ4 frames.
 */
export function lz4Decompress(input: Buffer, max_bytes: number): Buffer {
  const frames: Buffer[] = []
  for (let at = 0, most = 0; at < input.length; ) {
    const frame = frameAt(input, at)
    most += frame.most_bytes
    if (most > max_bytes) throw tooLarge(max_bytes)
    frames.push(decompressFrameSync(input.subarray(at, frame.end)))
    at = frame.end
  }
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
}

const MAGIC = 0x184d2204
/** Of a block's size: the block is stored as it is. */
const STORED = 0x80000000

/** Where a frame ends and what it holds at most. See the frame format 1.6: a head, blocks, and checksums as it flags. */
function frameAt(input: Buffer, start: number): { readonly end: number; readonly most_bytes: number } {
  if (input.readUInt32LE(start) !== MAGIC) throw new Error(`LZ4: expected a frame at byte ${start}`)
  const flags = input.readUInt8(start + 4)
  const has = (flag: number) => (flags & flag) !== 0
  /** 4 to 7 for 64 KiB, 256 KiB, 1 MiB and 4 MiB. */
  const block_size_code = (input.readUInt8(start + 5) >> 4) & 7
  const block_bytes = 2 ** (8 + 2 * block_size_code)
  let at = start + 6 + (has(0x08) ? 8 : 0) + (has(0x01) ? 4 : 0) + 1
  let most_bytes = 0
  for (;;) {
    const size = input.readUInt32LE(at)
    at += 4
    if (size === 0) break
    const length = size & 0x7fffffff
    if (at + length > input.length)
      throw new Error(`LZ4: a block of ${length} bytes ends beyond the ${input.length} there`)
    most_bytes += size >= STORED ? length : block_bytes
    at += length + (has(0x10) ? 4 : 0)
  }
  return { end: at + (has(0x04) ? 4 : 0), most_bytes }
}
