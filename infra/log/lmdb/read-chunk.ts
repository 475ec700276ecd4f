import type { Header, LogRecord } from '../port/log.ts'
import {
  HEAD_BYTES,
  KEY_IS_NULL,
  OWN_NAME,
  OWN_VALUE,
  PLAIN_HEAD_BYTES,
  RECORD_HEAD_BYTES,
  TEXT_IS_ASCII,
  VALUE_IS_KEY,
  VALUE_IS_NULL,
} from './chunk.ts'

export interface ChunkPlace {
  readonly topic: string
  readonly partition: number
  /** Offset of its first record. */
  readonly first: number
}

/** Bounds on what one read takes, counted in encoded bytes. */
export interface Budget {
  bytes: number
  /** Whether a single record may exceed it. */
  at_least_one: boolean
}

/**
 * Appends the chunk's records from offset `from` on to `into` while the budget lasts, and returns where to continue.
 * Values are views into `bytes`; headers that the records share are the same objects.
 *
 * @throws RangeError when lengths in the chunk contradict each other; `checkChunk` finds most such chunks earlier.
 */
export function readChunk(bytes: Buffer, place: ChunkPlace, from: number, budget: Budget, into: LogRecord[]): number {
  const version = bytes[0]
  const count = bytes.readUInt32LE(4)
  const appended_ms = bytes.readDoubleLE(8)
  let at = HEAD_BYTES
  let template: readonly Header[] | undefined
  if (version !== 1) {
    const end = at + bytes.readUInt32LE(at) + 4
    template = plainRecord(bytes, at, end).headers
    at = end
  }
  const { topic, partition, first } = place
  for (let i = 0; i < count; i += 1) {
    const size = bytes.readUInt32LE(at) + 4
    if (first + i >= from) {
      if (size > budget.bytes && !budget.at_least_one) return first + i
      budget.bytes -= size
      budget.at_least_one = false
      const end = at + size
      const part = template === undefined ? plainRecord(bytes, at, end) : recordOf(bytes, at, end, template)
      const value = (bytes[at + 4] as number) & VALUE_IS_NULL ? null : bytes.subarray(part.value_at, end)
      const { key, headers } = part
      into.push({ topic, partition, offset: BigInt(first + i), appended_ms, key, headers, value })
    }
    at += size
  }
  return first + count
}

const NOTHING: Header = { name: '', value: '' }

interface RecordPart {
  readonly key: string | null
  readonly headers: readonly Header[]
  readonly value_at: number
}

function recordOf(bytes: Buffer, start: number, end: number, template: readonly Header[]): RecordPart {
  const flags = bytes[start + 4] as number
  const header_count = bytes.readUInt16LE(start + 5)
  const header_bytes = bytes.readUInt32LE(start + 7)
  const text_at = start + RECORD_HEAD_BYTES + header_bytes
  const value_at = text_at + bytes.readUInt32LE(start + 11)
  // Checked before the loop: a damaged header count must not make it run past the record.
  if (value_at > end || header_count > header_bytes) throw tooLong()
  const text = textIn(bytes, flags, text_at, value_at)
  let cut = bytes.readUInt32LE(start + 15)
  const key = flags & KEY_IS_NULL ? null : text.slice(0, cut)
  const headers: Header[] = []
  let at = start + RECORD_HEAD_BYTES
  for (let i = 0; i < header_count; i += 1) {
    const code = bytes[at++] as number
    if (code === 0) {
      headers.push(template[i] as Header)
      continue
    }
    // The template has a header of this number, unless the record has its own name and value.
    let { name, value } = template[i] ?? NOTHING
    if (code & OWN_NAME) {
      const end = cut + bytes.readUInt32LE(at)
      name = text.slice(cut, end)
      cut = end
      at += 4
    }
    if (code & VALUE_IS_KEY) value = key ?? ''
    else if (code & OWN_VALUE) {
      const end = cut + bytes.readUInt32LE(at)
      value = text.slice(cut, end)
      cut = end
      at += 4
    }
    headers.push({ name, value })
  }
  return { key, headers, value_at }
}

/** A record of version 1. */
function plainRecord(bytes: Buffer, start: number, end: number): RecordPart {
  const flags = bytes[start + 4] as number
  const header_count = bytes.readUInt16LE(start + 5)
  const text_at = start + PLAIN_HEAD_BYTES + header_count * 8
  const value_at = text_at + bytes.readUInt32LE(start + 7)
  if (value_at > end) throw tooLong()
  const text = textIn(bytes, flags, text_at, value_at)
  let cut = bytes.readUInt32LE(start + 11)
  const key = flags & KEY_IS_NULL ? null : text.slice(0, cut)
  const headers: Header[] = []
  for (let i = 0, at = start + PLAIN_HEAD_BYTES; i < header_count; i += 1, at += 8) {
    const name_end = cut + bytes.readUInt32LE(at)
    const value_end = name_end + bytes.readUInt32LE(at + 4)
    headers.push({ name: text.slice(cut, name_end), value: text.slice(name_end, value_end) })
    cut = value_end
  }
  return { key, headers, value_at }
}

const tooLong = () => new RangeError('headers or texts are longer than their record')

function textIn(bytes: Buffer, flags: number, from: number, to: number): string {
  return from === to ? '' : bytes.toString(flags & TEXT_IS_ASCII ? 'latin1' : 'utf8', from, to)
}
