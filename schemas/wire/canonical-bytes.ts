import { writeShortAscii } from './short-text.ts'

/** A growing little-endian buffer: the input of canonical hashes. */
export class CanonicalBytes {
  #bytes = Buffer.allocUnsafe(512)
  #view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset)
  #length = 0

  uint8(value: number): void {
    const at = this.#claim(1)
    this.#view.setUint8(at, value)
  }
  uint32(value: number): void {
    const at = this.#claim(4)
    this.#view.setUint32(at, value, true)
  }
  int32(value: number): void {
    const at = this.#claim(4)
    this.#view.setInt32(at, value, true)
  }
  int64(value: number): void {
    const at = this.#claim(8)
    this.#view.setBigInt64(at, BigInt(value), true)
  }
  /** −0 is written as 0: they are equal, and JSON does not tell them apart. */
  float32(value: number): void {
    const at = this.#claim(4)
    this.#view.setFloat32(at, value + 0, true)
  }
  float64(value: number): void {
    const at = this.#claim(8)
    this.#view.setFloat64(at, value + 0, true)
  }
  /** The length, then UTF-8, so that no two sequences of texts give the same bytes. */
  utf8(value: string): void {
    const { length } = value
    const from = this.#claim(4 + length)
    if (writeShortAscii(this.#bytes, from + 4, value)) {
      this.#view.setUint32(from, length, true)
      return
    }
    this.#length = from
    const bytes = Buffer.byteLength(value)
    this.uint32(bytes)
    const at = this.#claim(bytes)
    this.#bytes.write(value, at, 'utf8')
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  #claim(count: number): number {
    const at = this.#length
    this.#length += count
    if (this.#length > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(this.#length, this.#bytes.length * 2))
      grown.set(this.#bytes)
      this.#bytes = grown
      this.#view = new DataView(grown.buffer, grown.byteOffset)
    }
    return at
  }
}
