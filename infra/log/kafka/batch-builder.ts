import { crc32c } from '@node-rs/crc32'
import { writeShortAscii } from '../../../schemas/wire/short-text.ts'
import type { NewRecord } from '../port/log.ts'
import { type Compression, compress } from './codecs.ts'
import { CRC_FROM, HEAD_BYTES, MAGIC_AT, TRANSACTIONAL } from './record-batch.ts'

/** The fields that assign a batch to a producer's transaction. */
export interface Stamp {
  readonly producer: bigint
  readonly epoch: number
  readonly sequence: number
  readonly now_ms: number
  readonly compression: Compression
}

/** Records, encoded as they are added; `finish` makes the batch, once the producer and sequence are known. */
export class BatchBuilder {
  #bytes = Buffer.allocUnsafe(1024)
  #length = 0
  count = 0

  /** Size before compression. */
  get bytes(): number {
    return this.#length
  }

  add({ key, headers, value }: NewRecord): void {
    this.#room(mostBytes({ key, headers, value }))
    // The length precedes the record but is known last: leave room for the longest varint, then move the record up.
    const from = this.#length
    const body_from = from + MOST_VARINT_BYTES
    this.#length = body_from
    this.#bytes[this.#length++] = 0
    this.#varint(0)
    this.#varint(this.count)
    if (key === null) this.#varint(-1)
    else this.#text(key)
    if (value === null) {
      this.#varint(-1)
    } else {
      this.#varint(value.length)
      this.#bytes.set(value, this.#length)
      this.#length += value.length
    }
    this.#varint(headers.length)
    for (const header of headers) {
      this.#text(header.name)
      this.#text(header.value)
    }
    const body_to = this.#length
    this.#length = from
    this.#varint(body_to - body_from)
    this.#bytes.copyWithin(this.#length, body_from, body_to)
    this.#length += body_to - body_from
    this.count += 1
  }

  /** The batch to send. Nothing may be added after this. */
  async finish({ producer, epoch, sequence, now_ms, compression }: Stamp): Promise<Buffer> {
    const { codec, bytes } = await compress(compression, this.#bytes.subarray(0, this.#length))
    const batch = Buffer.allocUnsafe(HEAD_BYTES + bytes.length)
    batch.writeBigInt64BE(0n, 0)
    batch.writeInt32BE(batch.length - 12, 8)
    batch.writeInt32BE(-1, 12)
    batch.writeInt8(2, MAGIC_AT)
    batch.writeInt16BE(codec | TRANSACTIONAL, 21)
    batch.writeInt32BE(this.count - 1, 23)
    batch.writeBigInt64BE(BigInt(now_ms), 27)
    batch.writeBigInt64BE(BigInt(now_ms), 35)
    batch.writeBigInt64BE(producer, 43)
    batch.writeInt16BE(epoch, 51)
    batch.writeInt32BE(sequence, 53)
    batch.writeInt32BE(this.count, 57)
    bytes.copy(batch, HEAD_BYTES)
    batch.writeUInt32BE(crc32c(batch.subarray(CRC_FROM)), 17)
    return batch
  }

  /** UTF-8 preceded by its length. */
  #text(text: string): void {
    const from = this.#length
    this.#varint(text.length)
    if (writeShortAscii(this.#bytes, this.#length, text)) {
      this.#length += text.length
      return
    }
    this.#length = from
    this.#varint(Buffer.byteLength(text, 'utf8'))
    this.#length += this.#bytes.write(text, this.#length, 'utf8')
  }

  #varint(value: number): void {
    let rest = zigzag(value)
    for (; rest >= 0x80; rest = Math.floor(rest / 128)) this.#bytes[this.#length++] = (rest % 128) + 0x80
    this.#bytes[this.#length++] = rest
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + bytes))
    this.#bytes.copy(larger, 0, 0, this.#length)
    this.#bytes = larger
  }
}

function zigzag(value: number): number {
  return value < 0 ? -value * 2 - 1 : value * 2
}

/** Enough for lengths and counts up to 2³¹. */
const MOST_VARINT_BYTES = 5
/** Most bytes of one UTF-16 unit in UTF-8. */
const MOST_UNIT_BYTES = 3

/** An upper bound of a record's bytes, including the length before each part. */
function mostBytes({ key, headers, value }: NewRecord): number {
  let units = key?.length ?? 0
  for (const header of headers) units += header.name.length + header.value.length
  return (6 + 2 * headers.length) * MOST_VARINT_BYTES + (value?.length ?? 0) + units * MOST_UNIT_BYTES
}
