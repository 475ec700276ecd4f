import type { Header, NewRecord } from '../port/log.ts'

/**
 * Consecutive records of one partition, as one LMDB value: a B-tree entry per record would cost more than the record.
 *
 * Layout of version 3: as version 2, then u32 CRC-32 of the chunk's key in the table and of all bytes before it. The
 * key is included so that an intact chunk under a wrong key is noticed too.
 *
 * Layout of version 2, still read, little-endian: u8 version, 3 bytes unused, u32 record count, f64 append time [ms];
 * the template; the records. The template has the first record's headers, in version 1's form of a record. Per
 * record: u32 bytes that follow, u8 flags, u16 header count, u32 bytes of the headers' part, u32 text bytes, u32 key
 * length; per header u8 code, then u32 name length and u32 value length if the code marks them as the record's own;
 * text; value. The text is the key and all names and values that are the record's own, in one piece, so that one call
 * decodes it. Lengths in it are in UTF-16 units, as `slice` needs them. A name that is not the record's own is that of
 * the template's header with the same number; so is a value, unless the code marks it as equal to the key.
 *
 * Version 1, still read: no template, and per record u32 bytes that follow, u8 flags, u16 header count, u32 text bytes,
 * u32 key length, per header u32 name and u32 value length, text, value.
 */
export const VERSION = 3
/** The first version that carries a checksum. */
export const CHECKSUM_SINCE = 3
export const CHECKSUM_BYTES = 4
export const HEAD_BYTES = 16
export const RECORD_HEAD_BYTES = 19
/** Head of a record of version 1, and of the template. */
export const PLAIN_HEAD_BYTES = 15
export const KEY_IS_NULL = 1
export const VALUE_IS_NULL = 2
export const TEXT_IS_ASCII = 4

/** Codes of a header; with none set, name and value are the template's. */
export const OWN_NAME = 1
export const OWN_VALUE = 2
export const VALUE_IS_KEY = 4

/**
 * The most bytes of a chunk with several records. With its checksum and LMDB's page header it fills whole pages. It
 * also bounds the bytes read for one record. It is the most that Linux allocates in one piece without searching (eight
 * pages, PAGE_ALLOC_COSTLY_ORDER): chunks of 64 KiB were written at half the speed.
 */
const CHUNK_BYTES = 8 * 4096 - 64 - CHECKSUM_BYTES
/** Chunks of one partition share blocks of up to this size: each block handed to the writer costs a microsecond. */
export const BLOCK_BYTES = 256 * 1024

/** Builds chunks out of the records of one partition. */
export class ChunkBuilder {
  readonly chunks: Chunk[] = []
  #buffer: Buffer = EMPTY
  /** Where the current chunk begins in the buffer. */
  #base = 0
  /** A view of the same memory: Buffer's own write methods check their arguments, which costs more than writing. */
  #view = viewOf(EMPTY)
  #used = 0
  #count = 0
  #template: readonly Header[] = []
  readonly #spare: ArrayBuffer[]

  /** @param spare Blocks of `BLOCK_BYTES` to reuse; allocating memory costs as much as filling it. */
  constructor(spare: ArrayBuffer[] = []) {
    this.#spare = spare
  }

  add(record: NewRecord): void {
    const value_bytes = record.value?.byteLength ?? 0
    if (this.#count > 0 && this.#used - this.#base + RECORD_HEAD_BYTES + value_bytes > CHUNK_BYTES) this.#close()
    if (this.#count === 0) this.#begin(record, value_bytes)
    const before = this.#used - this.#base
    this.#write(record, value_bytes)
    if (this.#count > 1 && this.#used - this.#base > CHUNK_BYTES) {
      // The record's exact size is only known now: move it to a new chunk.
      this.#used = this.#base + before
      this.#count -= 1
      this.#close()
      this.#begin(record, value_bytes)
      this.#write(record, value_bytes)
    }
  }

  /** Every chunk, the last one closed. */
  finish(): readonly Chunk[] {
    this.#close()
    return this.chunks
  }

  #begin(record: NewRecord, value_bytes: number): void {
    const { headers } = record
    let text = ''
    for (const { name, value } of headers) text += name + value
    const most = HEAD_BYTES + PLAIN_HEAD_BYTES + headers.length * 8 + text.length * 3
    this.#makeRoom(most + mostOf(record, value_bytes))
    this.#template = headers
    const view = this.#view
    const start = this.#base + HEAD_BYTES
    let at = start + PLAIN_HEAD_BYTES
    for (const { name, value } of headers) {
      view.setUint32(at, name.length, true)
      view.setUint32(at + 4, value.length, true)
      at += 8
    }
    const text_bytes = text.length === 0 ? 0 : this.#buffer.write(text, at, 'utf8')
    const flags = KEY_IS_NULL | VALUE_IS_NULL | (text_bytes === text.length ? TEXT_IS_ASCII : 0)
    this.#used = at + text_bytes
    this.#writeHead(start, flags, headers.length)
    view.setUint32(start + 7, text_bytes, true)
    view.setUint32(start + 11, 0, true)
  }

  #write(record: NewRecord, value_bytes: number): void {
    const { key, headers, value } = record
    this.#makeRoom(mostOf(record, value_bytes))
    const buffer = this.#buffer
    const view = this.#view
    const template = this.#template
    const start = this.#used
    let at = start + RECORD_HEAD_BYTES
    let text = key ?? ''
    for (let i = 0; i < headers.length; i++) {
      const { name, value: said } = headers[i] as Header
      const known = template[i]
      const coded = at++
      let code = 0
      if (known === undefined || known.name !== name) {
        code = OWN_NAME
        view.setUint32(at, name.length, true)
        at += 4
        text += name
      }
      if (said === key) code |= VALUE_IS_KEY
      else if (known === undefined || known.value !== said) {
        code |= OWN_VALUE
        view.setUint32(at, said.length, true)
        at += 4
        text += said
      }
      buffer[coded] = code
    }
    view.setUint32(start + 7, at - start - RECORD_HEAD_BYTES, true)
    const text_bytes = text.length === 0 ? 0 : buffer.write(text, at, 'utf8')
    view.setUint32(start + 11, text_bytes, true)
    view.setUint32(start + 15, key?.length ?? 0, true)
    at += text_bytes
    if (value !== null) buffer.set(value, at)
    this.#used = at + value_bytes
    const ascii = text_bytes === text.length ? TEXT_IS_ASCII : 0
    const flags = (key === null ? KEY_IS_NULL : 0) | (value === null ? VALUE_IS_NULL : 0) | ascii
    this.#writeHead(start, flags, headers.length)
    this.#count += 1
  }

  #writeHead(start: number, flags: number, headers: number): void {
    this.#view.setUint32(start, this.#used - start - 4, true)
    this.#buffer[start + 4] = flags
    this.#buffer.writeUInt16LE(headers, start + 5) // throws if the count does not fit into 16 bits
  }

  #makeRoom(bytes: number): void {
    const taken = this.#used - this.#base
    if (this.#used + bytes + CHECKSUM_BYTES <= this.#buffer.byteLength) return
    const needed = taken + bytes + CHECKSUM_BYTES
    const wanted =
      needed > BLOCK_BYTES ? needed : Math.min(Math.max(needed * 2, this.#buffer.byteLength * 4), BLOCK_BYTES)
    // Its own memory, not a slice of Node's pool: the whole block is transferred to the writer's thread.
    const again = wanted > BLOCK_BYTES / 2 && wanted <= BLOCK_BYTES ? this.#spare.pop() : undefined
    const block = again === undefined ? Buffer.allocUnsafeSlow(wanted) : Buffer.from(again)
    block.set(this.#buffer.subarray(this.#base, this.#used))
    this.#buffer = block
    this.#view = viewOf(block)
    this.#base = 0
    this.#used = taken
  }

  #close(): void {
    if (this.#count === 0) return
    this.#used += CHECKSUM_BYTES
    const bytes = this.#buffer.subarray(this.#base, this.#used)
    bytes.fill(0, 0, HEAD_BYTES)
    bytes[0] = VERSION
    bytes.writeUInt32LE(this.#count, 4)
    this.chunks.push({ count: this.#count, bytes })
    this.#base = this.#used
    this.#count = 0
  }
}

/** An upper bound of the record's size. */
function mostOf({ key, headers }: NewRecord, value_bytes: number): number {
  let most = RECORD_HEAD_BYTES + (key?.length ?? 0) * 3 + value_bytes
  for (let i = 0; i < headers.length; i++) {
    const { name, value } = headers[i] as Header
    most += 9 + (name.length + value.length) * 3
  }
  return most
}

export interface Chunk {
  readonly count: number
  readonly bytes: Uint8Array
}

const EMPTY = Buffer.alloc(0)

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength)
}

/** Record count of a chunk that `checkChunk` has not found damaged. */
export function chunkCount(bytes: Buffer): number {
  return bytes.readUInt32LE(4)
}
