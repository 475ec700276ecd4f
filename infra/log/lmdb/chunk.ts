import type { Header, NewRecord } from '../log.ts'

/**
 * Consecutive records of one partition, as one LMDB value: a B-tree entry per record would cost more than the record.
 *
 * Layout of version 2, little-endian: u8 version, 3 bytes unused, u32 record count, f64 time of append [ms]; the
 * template; the records. The template is what the first record's headers are, in version 1's form of a record. Per
 * record: u32 bytes that follow, u8 flags, u16 header count, u32 bytes of the headers' part, u32 text bytes, u32 key
 * length; per header u8 code, u32 name length and u32 value length where the code says that the record has its own;
 * text; value. The text is the key and every name and value that are the record's own, in one piece, so that one call
 * decodes it; lengths in it are in UTF-16 units, which is what a string is cut by. A name that is not its own is the
 * template's header's of that number, and so is a value, unless it is the key.
 *
 * Version 1, still read: no template, and per record u32 bytes that follow, u8 flags, u16 header count, u32 text bytes,
 * u32 key length, per header u32 name and u32 value length, text, value.
 */
export const VERSION = 2
export const HEAD_BYTES = 16
export const RECORD_HEAD_BYTES = 19
/** Of version 1's records, and of the template. */
export const PLAIN_HEAD_BYTES = 15
export const KEY_IS_NULL = 1
export const VALUE_IS_NULL = 2
export const TEXT_IS_ASCII = 4

/** Codes of a header; without any, both are the template's. */
export const OWN_NAME = 1
export const OWN_VALUE = 2
export const VALUE_IS_KEY = 4

/**
 * A chunk is closed before it grows over this. With LMDB's page header it fills whole pages; a single record is read
 * with no more than this; and it is as much as Linux finds memory for in one piece without looking for it (eight
 * pages, PAGE_ALLOC_COSTLY_ORDER): chunks of 64 KiB were written at half the speed.
 */
const CHUNK_BYTES = 8 * 4096 - 64
/** Chunks of one partition lie side by side in memory of up to this much: a piece that is handed over costs a microsecond. */
export const BLOCK_BYTES = 256 * 1024

/** Builds chunks out of the records of one partition. */
export class ChunkBuilder {
  readonly chunks: Chunk[] = []
  #buffer: Buffer = EMPTY
  /** Where in it the chunk that is being built begins. */
  #base = 0
  /** Of the same memory: Buffer's own writers check their arguments, which costs more than writing. */
  #view = viewOf(EMPTY)
  #used = 0
  #count = 0
  #template: readonly Header[] = []
  readonly #spare: ArrayBuffer[]

  /** @param spare Memory of `BLOCK_BYTES` to take from; new memory costs as much as what is written into it. */
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
      // Only now is it known to be too much.
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
    this.#buffer.writeUInt16LE(headers, start + 5) // refuses more than there is room to count
  }

  #makeRoom(bytes: number): void {
    const taken = this.#used - this.#base
    if (this.#used + bytes <= this.#buffer.byteLength) return
    const needed = taken + bytes
    const wanted =
      needed > BLOCK_BYTES ? needed : Math.min(Math.max(needed * 2, this.#buffer.byteLength * 4), BLOCK_BYTES)
    // Its own memory, not a slice of Node's pool: it is handed over to the writer's thread whole.
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
    const bytes = this.#buffer.subarray(this.#base, this.#used)
    bytes.fill(0, 0, HEAD_BYTES)
    bytes[0] = VERSION
    bytes.writeUInt32LE(this.#count, 4)
    this.chunks.push({ count: this.#count, bytes })
    this.#base = this.#used
    this.#count = 0
  }
}

/** No less than the record takes. */
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

export function stampChunk(bytes: Uint8Array, appended_ms: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setFloat64(8, appended_ms, true)
}

export function chunkCount(bytes: Buffer): number {
  return bytes.readUInt32LE(4)
}
