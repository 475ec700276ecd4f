import { crc32c } from '@node-rs/crc32'
import { REFUSED_RECORD } from '../../../schemas/wire/headers.ts'
import type { Header, LogRecord } from '../port/log.ts'
import { BatchTooLargeError, CODEC_MASK, decompress } from './codecs.ts'
import { Cursor } from './cursor.ts'

/** Kafka's record batch, magic 2: the unit that is stored, sent and fetched. */
export interface Batch {
  readonly base: bigint
  /** Offset after the batch, even if compaction has removed its last records. */
  readonly next: bigint
  readonly producer: bigint
  readonly transactional: boolean
  /** The batch is not records but the end marker of a transaction. */
  readonly control: boolean
  readonly codec: number
  /** A record's time is this plus its delta or, with `log_append_time`, `max_ms`. */
  readonly first_ms: number
  readonly max_ms: number
  readonly log_append_time: boolean
  readonly count: number
  readonly records: Buffer
}

export const HEAD_BYTES = 61
/** The checksum covers the attributes and everything after them. */
export const CRC_FROM = 21
export const MAGIC_AT = 16
export const TRANSACTIONAL = 0x10
const CONTROL = 0x20
const LOG_APPEND_TIME = 0x08

/** The complete batches of a fetch; a truncated last one is fetched again. */
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

/** Whether this control batch marks an abort. */
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

/** More than any event has, with room for those that about a hundred other programs might add. */
const MAX_HEADERS = 1024

/** The most records that one call of `next` decodes. */
const MOST_RECORDS = 1024

/**
 * The records of a batch, decoded in portions: a small batch may contain millions. A batch or record too large for
 * memory becomes one record that reports this. It ends up as a dead letter, and reading continues after it.
 */
export class BatchRecords {
  readonly #batch: Batch
  readonly #topic: string
  readonly #partition: number
  readonly #at_least: bigint
  readonly #from: Cursor
  readonly #repeated: RepeatedHeaders
  #left: number
  #refused: string | undefined

  /**
   * @param at_least skip records below this offset
   * @throws Error when the bytes cannot be decompressed
   */
  constructor(batch: Batch, topic: string, partition: number, at_least: bigint) {
    this.#batch = batch
    this.#topic = topic
    this.#partition = partition
    this.#at_least = at_least
    let bytes: Buffer = NOTHING
    this.#left = batch.count
    try {
      bytes = decompress(batch.codec, batch.records)
    } catch (error) {
      if (!(error instanceof BatchTooLargeError)) throw error
      this.#left = 0
      if (batch.base >= at_least) this.#refused = `a batch of ${batch.count} records is too large: ${error.message}`
    }
    this.#from = new Cursor(bytes)
    this.#repeated = new RepeatedHeaders(bytes)
  }

  /**
   * @returns an empty array when there are no more
   * @throws Error when the bytes are not records
   */
  next(): LogRecord[] {
    const { base, log_append_time, max_ms, first_ms } = this.#batch
    const records: LogRecord[] = []
    if (this.#refused !== undefined) {
      records.push(this.#refusedAt(base, max_ms, this.#refused))
      this.#refused = undefined
      return records
    }
    const [topic, partition, at_least] = [this.#topic, this.#partition, this.#at_least]
    const [from, repeated] = [this.#from, this.#repeated]
    let left = this.#left
    for (; left > 0 && records.length < MOST_RECORDS; left -= 1) {
      const end = from.varint() + from.at
      from.int8()
      const delta_ms = from.varint()
      const offset = base + BigInt(from.varint())
      if (offset < at_least) {
        from.at = end
        continue
      }
      const key = repeated.key(from)
      const value = takeBytes(from)
      const appended_ms = log_append_time ? max_ms : first_ms + delta_ms
      const count = from.varint()
      if (count > MAX_HEADERS) {
        const why = `a record with ${count} headers: expected at most ${MAX_HEADERS}`
        records.push(this.#refusedAt(offset, appended_ms, why))
      } else {
        const headers: Header[] = []
        for (let at = 0; at < count; at += 1) headers.push(repeated.next(at, from))
        records.push({ topic, partition, offset, appended_ms, key, headers, value })
      }
      from.at = end
    }
    this.#left = left
    return records
  }

  #refusedAt(offset: bigint, appended_ms: number, why: string): LogRecord {
    const headers = [{ name: REFUSED_RECORD, value: why }]
    return { topic: this.#topic, partition: this.#partition, offset, appended_ms, key: null, headers, value: null }
  }
}

const NOTHING = Buffer.alloc(0)

/** A range of bytes, and its text. */
interface Known {
  from: number
  to: number
  text: string
}

/**
 * The headers of a batch's records. Of an event's twelve, all names and half the values equal those of the previous
 * record, and others equal its key. So each text is cached by its place among the headers, and so is an unchanged
 * header. Comparing bytes costs a fifth of decoding them.
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

  /** The next header, the `at`-th of its record. An absent value becomes an empty text. */
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

  /** Reads the next `length` bytes, −1 for none. @returns whether they equal the cached ones */
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

  /** Compares from the end, where ids and times differ first; four bytes at a time while that many remain. */
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
