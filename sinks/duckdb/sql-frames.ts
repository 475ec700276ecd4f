import type { SqlColumn } from './sql-result.ts'

/**
 * An answer is a sequence of frames: a kind (1 byte), a length (4 bytes, little-endian) and that many bytes. A query
 * sends columns, then Arrow, then the end; an export sends `exported`. An error may occur at any time and is the last.
 * An answer without one of these last frames was cut off.
 */
export type Frame =
  | { readonly kind: 'columns'; readonly columns: readonly SqlColumn[] }
  | { readonly kind: 'arrow'; readonly bytes: Uint8Array }
  | { readonly kind: 'exported'; readonly rows: number; readonly folder: string }
  | { readonly kind: 'end' }
  | { readonly kind: 'error'; readonly name: string; readonly message: string }

const KINDS = ['columns', 'arrow', 'exported', 'end', 'error'] as const
const HEAD_BYTES = 5
/** The largest row and Arrow's metadata fit; a longer frame is not from an owner. */
const LONGEST_FRAME_BYTES = 128 * 2 ** 20

/** Head and body of a frame, not joined, since Arrow bodies are large. */
export function frameParts(frame: Frame): Uint8Array[] {
  const body = frame.kind === 'arrow' ? frame.bytes : Buffer.from(JSON.stringify(frame))
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(KINDS.indexOf(frame.kind))
  head.writeUInt32LE(body.length, 1)
  return [head, body]
}

/** @throws RangeError for an invalid or incomplete frame. */
export async function* framesOf(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Frame> {
  let waiting: Uint8Array[] = []
  let bytes = 0
  let wanted = HEAD_BYTES
  for await (const part of parts) {
    waiting.push(part)
    bytes += part.length
    while (bytes >= wanted) {
      const whole = waiting.length === 1 ? Buffer.from(waiting[0] as Uint8Array) : Buffer.concat(waiting)
      const length = whole.readUInt32LE(1)
      if (length > LONGEST_FRAME_BYTES) throw new RangeError(`a frame of ${length} bytes`)
      wanted = HEAD_BYTES + length
      waiting = [whole]
      if (bytes < wanted) break
      yield frameOf(whole.readUInt8(), whole.subarray(HEAD_BYTES, wanted))
      waiting = [whole.subarray(wanted)]
      bytes -= wanted
      wanted = HEAD_BYTES
    }
  }
  if (bytes > 0) throw new RangeError('a frame without its end')
}

function frameOf(kind: number, body: Buffer): Frame {
  const name = KINDS[kind]
  if (name === undefined) throw new RangeError(`a frame of kind ${kind}`)
  return name === 'arrow' ? { kind: 'arrow', bytes: body } : (JSON.parse(body.toString('utf8')) as Frame)
}
