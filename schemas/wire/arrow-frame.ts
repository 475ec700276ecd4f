/** The frame of one message in an Arrow IPC stream: continuation mark, length, metadata. */

export const CONTINUATION = -1
export const PREFIX_BYTES = 8
export const END_OF_STREAM = Buffer.from([255, 255, 255, 255, 0, 0, 0, 0])

/** Frames and buffers are padded to eight bytes. */
export const padded = (bytes: number) => (bytes + 7) & ~7

export function framed(metadata: Uint8Array): Buffer {
  const out = Buffer.alloc(padded(PREFIX_BYTES + metadata.length))
  out.writeInt32LE(CONTINUATION, 0)
  out.writeInt32LE(out.length - PREFIX_BYTES, 4)
  out.set(metadata, PREFIX_BYTES)
  return out
}
