import type { Header, LogRecord, NewRecord } from '../log.ts'

/**
 * Consecutive records of one partition, as one LMDB value: a B-tree entry per record would cost more than the record.
 *
 * Layout, little-endian: u8 version, 3 bytes unused, u32 record count, f64 time of append [ms]; then per record
 * u32 bytes that follow, u8 flags, u16 header count, u32 text bytes, u32 key length, per header u32 name and u32 value
 * length, text, value. The text is key and headers in one piece, so that one call decodes it; its lengths are in
 * UTF-16 units, which is what a string is cut by.
 */
const VERSION = 1
const HEAD_BYTES = 16
const RECORD_HEAD_BYTES = 15
const KEY_IS_NULL = 1
const VALUE_IS_NULL = 2
const TEXT_IS_ASCII = 4

/**
 * A chunk is closed before it grows over this: with LMDB's page header it fills whole pages, and reading a single
 * record copies no more than this.
 */
const CHUNK_BYTES = 16 * 4096 - 64

/** Builds chunks out of the records of one partition. */
export class ChunkBuilder {
  readonly chunks: Chunk[] = []
  #buffer: Buffer = EMPTY
  /** Of the same memory: Buffer's own writers check their arguments, which costs more than writing. */
  #view = viewOf(EMPTY)
  #used = 0
  #count = 0

  add(record: NewRecord): void {
    const { key, headers, value } = record
    let text = key ?? ''
    for (const header of headers) text += header.name + header.value
    const most = RECORD_HEAD_BYTES + headers.length * 8 + text.length * 3 + (value?.byteLength ?? 0)
    this.#makeRoom(most)
    const buffer = this.#buffer
    const view = this.#view
    const start = this.#used
    let at = start + RECORD_HEAD_BYTES
    for (let i = 0; i < headers.length; i++, at += 8) {
      const { name, value: said } = headers[i] as Header
      view.setUint32(at, name.length, true)
      view.setUint32(at + 4, said.length, true)
    }
    const text_bytes = text.length === 0 ? 0 : buffer.write(text, at, 'utf8')
    at += text_bytes
    if (value !== null) {
      buffer.set(value, at)
      at += value.byteLength
    }
    const ascii = text_bytes === text.length ? TEXT_IS_ASCII : 0
    view.setUint32(start, at - start - 4, true)
    buffer[start + 4] = (key === null ? KEY_IS_NULL : 0) | (value === null ? VALUE_IS_NULL : 0) | ascii
    buffer.writeUInt16LE(headers.length, start + 5) // refuses more than there is room to count
    view.setUint32(start + 7, text_bytes, true)
    view.setUint32(start + 11, key?.length ?? 0, true)
    this.#used = at
    this.#count += 1
  }

  /** Every chunk, the last one closed. */
  finish(): readonly Chunk[] {
    this.#close()
    return this.chunks
  }

  #makeRoom(bytes: number): void {
    if (this.#count > 0 && this.#used + bytes > CHUNK_BYTES) this.#close()
    const needed = (this.#used || HEAD_BYTES) + bytes
    if (needed > this.#buffer.byteLength) {
      // Its own memory, not a slice of Node's pool: it is handed over to the writer's thread whole.
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(CHUNK_BYTES, needed * 4)))
      grown.set(this.#buffer.subarray(0, this.#used))
      this.#buffer = grown
      this.#view = viewOf(grown)
    }
    if (this.#used === 0) this.#used = HEAD_BYTES
  }

  #close(): void {
    if (this.#count === 0) return
    this.#buffer.fill(0, 0, HEAD_BYTES)
    this.#buffer[0] = VERSION
    this.#buffer.writeUInt32LE(this.#count, 4)
    this.chunks.push({ count: this.#count, bytes: this.#buffer.subarray(0, this.#used) })
    this.#buffer = EMPTY
    this.#view = viewOf(EMPTY)
    this.#used = 0
    this.#count = 0
  }
}

export interface Chunk {
  readonly count: number
  readonly bytes: Uint8Array
}

const EMPTY = Buffer.alloc(0)

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength)
}

export function stampChunk(bytes: Uint8Array, appended_ms: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setFloat64(8, appended_ms, true)
}

export function chunkCount(bytes: Buffer): number {
  return bytes.readUInt32LE(4)
}

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
 * Appends the chunk's records from offset `from` on to `into` while the budget lasts, and returns where to go on.
 * Values are views into `bytes`.
 */
export function readChunk(bytes: Buffer, place: ChunkPlace, from: number, budget: Budget, into: LogRecord[]): number {
  if (bytes[0] !== VERSION) {
    throw new Error(
      `${place.topic} partition ${place.partition} offset ${place.first}: expected a chunk of version ${VERSION}, ` +
        `found ${bytes[0]}. A newer release wrote this log, or the file is damaged.`,
    )
  }
  const count = bytes.readUInt32LE(4)
  const appended_ms = bytes.readDoubleLE(8)
  let at = HEAD_BYTES
  for (let i = 0; i < count; i += 1) {
    const size = bytes.readUInt32LE(at) + 4
    const offset = place.first + i
    if (offset >= from) {
      if (size > budget.bytes && !budget.at_least_one) return offset
      budget.bytes -= size
      budget.at_least_one = false
      into.push(readRecord(bytes, at, size, place, offset, appended_ms))
    }
    at += size
  }
  return place.first + count
}

function readRecord(
  bytes: Buffer,
  start: number,
  size: number,
  place: ChunkPlace,
  offset: number,
  appended_ms: number,
): LogRecord {
  const flags = bytes[start + 4] as number
  const header_count = bytes.readUInt16LE(start + 5)
  const text_bytes = bytes.readUInt32LE(start + 7)
  const key_length = bytes.readUInt32LE(start + 11)
  let at = start + RECORD_HEAD_BYTES
  const text_at = at + header_count * 8
  const value_at = text_at + text_bytes
  let text = ''
  if (text_bytes > 0) {
    text = bytes.toString(flags & TEXT_IS_ASCII ? 'latin1' : 'utf8', text_at, value_at)
  }
  const headers: Header[] = []
  let cut = key_length
  for (let i = 0; i < header_count; i += 1) {
    const name_end = cut + bytes.readUInt32LE(at)
    const value_end = name_end + bytes.readUInt32LE(at + 4)
    headers.push({ name: text.slice(cut, name_end), value: text.slice(name_end, value_end) })
    cut = value_end
    at += 8
  }
  return {
    topic: place.topic,
    partition: place.partition,
    offset: BigInt(offset),
    appended_ms,
    key: flags & KEY_IS_NULL ? null : text.slice(0, key_length),
    headers,
    value: flags & VALUE_IS_NULL ? null : bytes.subarray(value_at, start + size),
  }
}
