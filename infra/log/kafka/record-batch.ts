import { crc32c } from '@node-rs/crc32'
import type { Header, LogRecord } from '../log.ts'
import { CODEC_MASK, decompress } from './codecs.ts'
import { Cursor } from './cursor.ts'

/** Kafka's record batch, magic 2: what lies in a partition, and what is sent and fetched. */
export interface Batch {
  readonly base: bigint
  /** Offset after the batch, also where compaction has removed its last records. */
  readonly next: bigint
  readonly producer: bigint
  readonly transactional: boolean
  /** Not records but the end of a transaction. */
  readonly control: boolean
  readonly codec: number
  /** When the log took it, or, where a topic keeps its producers' times, when the first record was made. */
  readonly first_ms: number
  readonly max_ms: number
  readonly log_append_time: boolean
  readonly count: number
  readonly records: Buffer
}

export const HEAD_BYTES = 61
/** From the attributes on. */
export const CRC_FROM = 21
export const MAGIC_AT = 16
export const TRANSACTIONAL = 0x10
const CONTROL = 0x20
const LOG_APPEND_TIME = 0x08

/** The whole batches that lie one after the other; what is cut off at the end comes with the next fetch. */
export function* batchesIn(bytes: Buffer): Generator<Batch> {
  for (let at = 0; at + HEAD_BYTES <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8)
    const magic = bytes.readInt8(at + MAGIC_AT)
    if (magic !== 2) throw new Error(`expected record batches of format 2, found format ${magic}`)
    if (end > bytes.length) return
    yield batchAt(bytes.subarray(at, end))
    at = end
  }
}

function batchAt(bytes: Buffer): Batch {
  const expected = bytes.readUInt32BE(17)
  const found = crc32c(bytes.subarray(CRC_FROM))
  if (found !== expected)
    throw new Error(
      `the record batch at offset ${bytes.readBigInt64BE(0)} is damaged: its checksum is ${found}, not ${expected}`,
    )
  const base = bytes.readBigInt64BE(0)
  const attributes = bytes.readInt16BE(21)
  return {
    base,
    next: base + BigInt(bytes.readInt32BE(23)) + 1n,
    first_ms: Number(bytes.readBigInt64BE(27)),
    max_ms: Number(bytes.readBigInt64BE(35)),
    producer: bytes.readBigInt64BE(43),
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: (attributes & CONTROL) !== 0,
    log_append_time: (attributes & LOG_APPEND_TIME) !== 0,
    codec: attributes & CODEC_MASK,
    count: bytes.readInt32BE(57),
    records: bytes.subarray(HEAD_BYTES),
  }
}

/** The type of a control batch: whether its transaction was aborted. */
export function isAbort(batch: Batch): boolean {
  const from = new Cursor(batch.records)
  from.varint()
  from.int8()
  from.varint()
  from.varint()
  const key = new Cursor(from.take(from.varint()))
  key.int16()
  return key.int16() === 0
}

/** A batch's records from an offset on. */
export function recordsOf(batch: Batch, topic: string, partition: number, at_least: bigint): LogRecord[] {
  const from = new Cursor(decompress(batch.codec, batch.records))
  const repeated = new RepeatedHeaders(from.bytes)
  const records: LogRecord[] = []
  for (let left = batch.count; left > 0; left -= 1) {
    const end = from.varint() + from.at
    from.int8()
    const delta_ms = from.varint()
    const offset = batch.base + BigInt(from.varint())
    if (offset < at_least) {
      from.at = end
      continue
    }
    const key = repeated.key(from)
    const value = takeBytes(from)
    const headers: Header[] = []
    for (let count = from.varint(), at = 0; at < count; at += 1) headers.push(repeated.next(at, from))
    const appended_ms = batch.log_append_time ? batch.max_ms : batch.first_ms + delta_ms
    records.push({ topic, partition, offset, appended_ms, key, headers, value })
    from.at = end
  }
  return records
}

/** Bytes, and the text that they are. */
interface Known {
  from: number
  to: number
  text: string
}

/**
 * The headers of a batch's records. Of an event's twelve, all names and half the values are those of the record before,
 * and others are its key: each text is made once and kept by its place among the headers, and so is the header when
 * nothing of it has changed. Comparing bytes costs a fifth of making texts of them.
 */
class RepeatedHeaders {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #places: { readonly name: Known; readonly value: Known; header: Header }[] = []
  readonly #key: Known = { from: 0, to: 0, text: '' }

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The next record's key. */
  key(cursor: Cursor): string | null {
    const length = cursor.varint()
    if (length < 0) {
      this.#key.to = this.#key.from
      this.#key.text = ''
      return null
    }
    this.#take(this.#key, cursor, length)
    return this.#key.text
  }

  /** The next header, the `at`-th of its record. A value that is absent is an empty text. */
  next(at: number, cursor: Cursor): Header {
    const known = this.#places[at]
    if (known === undefined) {
      const [name, value] = [
        { from: 0, to: 0, text: '' },
        { from: 0, to: 0, text: '' },
      ]
      this.#take(name, cursor, cursor.varint())
      this.#take(value, cursor, cursor.varint())
      const header = { name: name.text, value: value.text }
      this.#places[at] = { name, value, header }
      return header
    }
    const { name, value } = known
    const has_name = this.#take(name, cursor, cursor.varint())
    const has_value = this.#take(value, cursor, cursor.varint())
    if (!has_name || !has_value) known.header = { name: name.text, value: value.text }
    return known.header
  }

  /** Reads the next so many bytes, −1 for none. @returns whether they are those that were known */
  #take(known: Known, cursor: Cursor, length: number): boolean {
    const from = cursor.skip(Math.max(length, 0))
    const to = cursor.at
    const same = this.#isSame(from, to, known.from, known.to)
    if (!same) {
      const key = this.#key
      known.text = this.#isSame(from, to, key.from, key.to) ? key.text : this.#bytes.toString('utf8', from, to)
    }
    known.from = from
    known.to = to
    return same
  }

  /** From the end, where ids and times differ first; four bytes at a time while there are as many. */
  #isSame(from: number, to: number, other_from: number, other_to: number): boolean {
    if (to - from !== other_to - other_from) return false
    const view = this.#view
    let at = to
    let other = other_to
    for (; at - from >= 4; at -= 4, other -= 4) {
      if (view.getInt32(at - 4) !== view.getInt32(other - 4)) return false
    }
    for (; at > from; at -= 1, other -= 1) if (view.getInt8(at - 1) !== view.getInt8(other - 1)) return false
    return true
  }
}

function takeBytes(from: Cursor): Buffer | null {
  const length = from.varint()
  return length < 0 ? null : from.take(length)
}
