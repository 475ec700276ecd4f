import { Message, type Schema } from 'apache-arrow'
import { framed, PREFIX_BYTES, padded } from './arrow-frame.ts'
import { textPlaces } from './arrow-metadata.ts'

/**
 * The message of a schema: bytes that are made once, written as they are and compared with what is read, because
 * apache-arrow takes longer to write and to parse them than all the rest of a small stream.
 *
 * A field's metadata can have a text that differs from stream to stream, such as the description of a column that is
 * stored in a blob. A flatbuffer allows a text anywhere after the pointer to it, so these texts are written behind the
 * constant bytes, and only the pointers and the length of the message change with them.
 */
export class SchemaMessage {
  readonly schema: Schema
  /** The fields with such a text, ascending. */
  readonly described: readonly number[]
  readonly #constant: Buffer
  /** By text: where the pointer to it is. */
  readonly #pointers: readonly number[]
  /** What lies between length and pointers, and is the same in every stream. */
  readonly #same: readonly { readonly from: number; readonly to: number }[]

  /** @param key of the texts in the fields' metadata; without it, all bytes are constant */
  constructor(schema: Schema, key?: string) {
    this.schema = schema
    this.#constant = framed(Message.encode(Message.from(schema)))
    const places = key === undefined ? [] : textPlaces(this.#constant.subarray(PREFIX_BYTES), key)
    this.described = places.map(({ field }) => field)
    this.#pointers = places.map(({ pointer }) => pointer + PREFIX_BYTES)
    const ascending = [...this.#pointers].sort((a, b) => a - b)
    const from = [PREFIX_BYTES, ...ascending.map((pointer) => pointer + POINTER_BYTES)]
    const to = [...ascending, this.#constant.length]
    this.#same = from.map((start, at) => ({ from: start, to: to[at] as number }))
  }

  /** @param texts one for each of the `described` fields */
  write(texts: readonly string[]): Uint8Array {
    if (texts.length === 0) return this.#constant
    const sizes = texts.map((text) => Buffer.byteLength(text))
    const end = sizes.reduce((at, size) => at + textBytes(size), this.#constant.length)
    // From Node's pool, which does not clear it: what follows writes every byte.
    const out = Buffer.allocUnsafe(padded(end))
    out.set(this.#constant)
    out.fill(0, end)
    out.writeInt32LE(out.length - PREFIX_BYTES, 4)
    let at = this.#constant.length
    for (let index = 0; index < texts.length; index++) {
      const pointer = this.#pointers[index] as number
      const size = sizes[index] as number
      out.writeUInt32LE(at - pointer, pointer)
      out.writeUInt32LE(size, at)
      out.write(texts[index] as string, at + LENGTH_BYTES)
      const next = at + textBytes(size)
      out.fill(0, at + LENGTH_BYTES + size, next)
      at = next
    }
    return out
  }

  /**
   * The texts at the beginning of a stream, and where its message ends. The bytes are untrusted.
   *
   * @returns undefined when the stream does not begin as `write` would have begun it
   */
  read(bytes: Uint8Array): { readonly texts: readonly string[]; readonly end: number } | undefined {
    const { length } = this.#constant
    if (bytes.length < length) return undefined
    if (this.#constant.compare(bytes, 0, 4, 0, 4) !== 0) return undefined
    for (const { from, to } of this.#same) if (this.#constant.compare(bytes, from, to, from, to) !== 0) return undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const end = PREFIX_BYTES + view.getInt32(4, true)
    if (end > bytes.length) return undefined
    const texts: string[] = []
    let at = length
    for (const pointer of this.#pointers) {
      if (view.getUint32(pointer, true) !== at - pointer || at + LENGTH_BYTES > end) return undefined
      const size = view.getUint32(at, true)
      const next = at + textBytes(size)
      if (next > end) return undefined
      texts.push(Buffer.from(bytes.buffer, bytes.byteOffset + at + LENGTH_BYTES, size).toString())
      at = next
    }
    return padded(at) === end ? { texts, end } : undefined
  }
}

const POINTER_BYTES = 4
const LENGTH_BYTES = 4

/** Its length, the text, a zero that other readers expect behind it, and padding to four bytes. */
const textBytes = (size: number) => LENGTH_BYTES + Math.ceil((size + 1) / 4) * 4
