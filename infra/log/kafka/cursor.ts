/** Reads the fields of a Kafka message in their order. */
export class Cursor {
  readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  get left(): number {
    return this.bytes.length - this.at
  }

  int8(): number {
    return this.bytes.readInt8(this.#pass(1))
  }

  int16(): number {
    return this.bytes.readInt16BE(this.#pass(2))
  }

  int32(): number {
    return this.bytes.readInt32BE(this.#pass(4))
  }

  int64(): bigint {
    return this.bytes.readBigInt64BE(this.#pass(8))
  }

  /** A text preceded by its length, −1 for null. */
  string(): string | null {
    const length = this.int16()
    return length < 0 ? null : this.take(length).toString('utf8')
  }

  array<T>(item: () => T): T[] {
    const items: T[] = []
    for (let left = this.int32(); left > 0; left -= 1) items.push(item())
    return items
  }

  /** The compact forms of flexible versions: a length plus one, 0 for null. */
  compactString(): string | null {
    const length = this.uvarint() - 1
    return length < 0 ? null : this.take(length).toString('utf8')
  }

  compactArray<T>(item: () => T): T[] {
    const items: T[] = []
    for (let left = this.uvarint() - 1; left > 0; left -= 1) items.push(item())
    return items
  }

  skipTags(): void {
    for (let left = this.uvarint(); left > 0; left -= 1) {
      this.uvarint()
      this.take(this.uvarint())
    }
  }

  uvarint(): number {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = this.bytes[this.#pass(1)] as number
      value += (byte & 0x7f) * shift
      if (byte < 0x80) return value
    }
  }

  /** Zigzag, up to 53 bits: lengths, deltas. */
  varint(): number {
    // Fast path: most have one byte.
    const byte = this.bytes[this.at]
    if (byte !== undefined && byte < 0x80) {
      this.at += 1
      return (byte >>> 1) ^ -(byte & 1)
    }
    const raw = this.uvarint()
    return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2
  }

  take(length: number): Buffer {
    const from = this.#pass(length)
    return this.bytes.subarray(from, from + length)
  }

  /** Skips `length` bytes. @returns where they begin */
  skip(length: number): number {
    return this.#pass(length)
  }

  #pass(length: number): number {
    const from = this.at
    if (length < 0 || from + length > this.bytes.length) {
      throw new Error(
        `a Kafka message of ${this.bytes.length} bytes ends at ${from}, where ${length} more were expected`,
      )
    }
    this.at = from + length
    return from
  }
}
