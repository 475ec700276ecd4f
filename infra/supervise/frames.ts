import type { Socket } from 'node:net'
import { deserialize, serialize } from 'node:v8'

/**
 * Values on a pipe between two processes. Node's own channel (`stdio: 'ipc'`) is not used: bytes that are no message
 * raise an exception there that no handler can catch, or block the channel for ever, and a process that is supervised because
 * it may go wrong may also write such bytes.
 */

const MAGIC = 0x504c_4231
const HEAD_BYTES = 8
/** Larger than any batch. */
const MAX_FRAME_BYTES = 1024 * 1024 * 1024

/** @returns false when the pipe is closed: the value is dropped */
export function writeFrame(pipe: Socket, value: unknown): boolean {
  if (pipe.destroyed || !pipe.writable) return false
  const body = serialize(value)
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32BE(MAGIC, 0)
  head.writeUInt32BE(body.byteLength, 4)
  pipe.cork()
  pipe.write(head)
  pipe.write(body)
  pipe.uncork()
  return true
}

/** Calls `take` for each value, and `refuse` once for bytes that are none; nothing is read after that. */
export function readFrames(pipe: Socket, take: (value: unknown) => void, refuse: (why: string) => void): void {
  let pieces: Buffer[] = []
  let held = 0
  let wanted = HEAD_BYTES
  let in_body = false
  const stop = (why: string) => {
    pipe.off('data', read)
    pipe.resume()
    pieces = []
    refuse(why)
  }
  const read = (piece: Buffer) => {
    pieces.push(piece)
    held += piece.byteLength
    while (held >= wanted) {
      const all = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, held)
      const part = all.subarray(0, wanted)
      const rest = all.subarray(wanted)
      pieces = rest.byteLength === 0 ? [] : [rest]
      held = rest.byteLength
      if (in_body) {
        in_body = false
        wanted = HEAD_BYTES
        let value: unknown
        try {
          value = deserialize(part)
        } catch (error) {
          return stop(`it wrote a message that cannot be read: ${(error as Error).message}`)
        }
        take(value)
      } else {
        wanted = part.readUInt32BE(4)
        if (part.readUInt32BE(0) !== MAGIC) return stop('it wrote bytes that are no message')
        if (wanted > MAX_FRAME_BYTES) return stop(`it wrote a message of ${wanted} bytes`)
        in_body = true
      }
    }
  }
  pipe.on('data', read)
}
