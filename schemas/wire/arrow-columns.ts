import { isUtf8 } from 'node:buffer'
import { Data, type DataType } from 'apache-arrow'
import type { TensorArray } from '../declare/tensor-value.ts'

/**
 * Builds Arrow buffers directly from arrays of values. apache-arrow's own builders use a visitor and a growing buffer
 * per value, which costs several times as much for the small batches of an event log.
 */

/** The parts of an Arrow column that depend on its type: all but length and nulls. */
export interface ColumnBody {
  readonly values?: unknown
  readonly offsets?: Int32Array
  readonly children?: Data[]
}

export type ColumnWriter = (values: readonly unknown[]) => Data
export type ColumnReader = (data: Data) => unknown[]

export function columnOf(type: DataType, length: number, body: ColumnBody, nullCount = 0, bitmap?: Uint8Array): Data {
  // The constructor's tuple has one slot per buffer, in the order offsets, values, validity.
  const buffers = [body.offsets, body.values, bitmap] as unknown as Data['buffers']
  return new Data(type, 0, length, nullCount, buffers, body.children)
}

/** Bits, least significant first, padded with zeros to eight bytes. */
export function packBits(count: number, isSet: (index: number) => boolean): Uint8Array {
  const bytes = new Uint8Array(((count + 63) >> 6) << 3)
  for (let i = 0; i < count; i++) if (isSet(i)) bytes[i >> 3] = (bytes[i >> 3] as number) | (1 << (i & 7))
  return bytes
}

export function writeBools(values: readonly boolean[]): ColumnBody {
  return { values: packBits(values.length, (i) => values[i] === true) }
}
export function readBools(data: Data): boolean[] {
  const bits = data.values as Uint8Array
  return Array.from(
    { length: data.length },
    (_, i) => ((bits[(data.offset + i) >> 3] ?? 0) & (1 << ((data.offset + i) & 7))) !== 0,
  )
}

export function readNumbers(data: Data): number[] {
  const values = data.values as TensorArray
  // A loop, because Array.from uses the iterator and is several times slower.
  const out: number[] = new Array(Math.min(data.length, values.length))
  for (let i = 0; i < out.length; i++) out[i] = values[i] as number
  return out
}

export function writeInt64s(values: readonly number[]): ColumnBody {
  const out = new BigInt64Array(values.length)
  for (let i = 0; i < out.length; i++) out[i] = BigInt(values[i] as number)
  return { values: out }
}
export function readInt64s(data: Data): number[] {
  const values = data.values as BigInt64Array
  const out: number[] = new Array(Math.min(data.length, values.length))
  for (let i = 0; i < out.length; i++) out[i] = Number(values[i])
  return out
}

export function writeTexts(values: readonly string[]): ColumnBody {
  const offsets = new Int32Array(values.length + 1)
  let units = 0
  for (let i = 0; i < values.length; i++) {
    units += (values[i] as string).length
    offsets[i + 1] = units
  }
  // Encode all texts in one call. If every character is one byte (the usual case), character offsets are byte offsets.
  const bytes = Buffer.from(values.join(''))
  if (bytes.length === units) return { offsets, values: bytes }
  let end = 0
  for (let i = 0; i < values.length; i++) {
    end += Buffer.byteLength(values[i] as string)
    offsets[i + 1] = end
  }
  return { offsets, values: bytes }
}
export function readTexts(data: Data): string[] {
  const offsets = checkedOffsets(data, (data.values as Uint8Array).length)
  const first = offsets[0] as number
  const { buffer, byteOffset } = data.values as Uint8Array
  const bytes = Buffer.from(buffer, byteOffset + first, (offsets[data.length] as number) - first)
  if (!isUtf8(bytes)) throw new Error('a text is not UTF-8')
  const out: string[] = new Array(data.length)
  for (let i = 0; i < out.length; i++) {
    const start = (offsets[i] as number) - first
    const end = (offsets[i + 1] as number) - first
    // Many columns repeat one text in every row of a batch: reuse the previous row's string.
    const length = i === 0 ? -1 : start - ((offsets[i - 1] as number) - first)
    const same = length === end - start && areEqual(bytes, start - length, start, length)
    out[i] = same ? (out[i - 1] as string) : bytes.toString('utf8', start, end)
  }
  return out
}

function areEqual(bytes: Uint8Array, one: number, other: number, length: number): boolean {
  for (let at = 0; at < length; at++) if (bytes[one + at] !== bytes[other + at]) return false
  return true
}

/** Concatenates lists; `offsets` are where each begins, and the end of the last one. */
export function flatten(lists: readonly (readonly unknown[])[]): { offsets: Int32Array; items: unknown[] } {
  const offsets = new Int32Array(lists.length + 1)
  const items: unknown[] = []
  for (let i = 0; i < lists.length; i++) {
    for (const item of lists[i] as readonly unknown[]) items.push(item)
    offsets[i + 1] = items.length
  }
  return { offsets, items }
}
export function readLists(data: Data, readItems: ColumnReader): unknown[][] {
  const child = data.children[0] as Data
  const offsets = checkedOffsets(data, child.length)
  const items = readItems(child)
  return Array.from({ length: data.length }, (_, i) => items.slice(offsets[i], offsets[i + 1]))
}

export function readMaps(data: Data, readKeys: ColumnReader, readValues: ColumnReader): Record<string, unknown>[] {
  const entries = data.children[0] as Data
  const offsets = checkedOffsets(data, entries.length)
  const keys = readKeys(entries.children[0] as Data) as string[]
  const values = readValues(entries.children[1] as Data)
  return Array.from({ length: data.length }, (_, i) => {
    const out: Record<string, unknown> = {}
    for (let at = offsets[i] as number; at < (offsets[i + 1] as number); at++) {
      const key = keys[at] as string
      if (key === '__proto__' || Object.hasOwn(out, key))
        throw new Error(`a map holds key ${JSON.stringify(key)} twice, or must not hold it`)
      out[key] = values[at]
    }
    return out
  })
}

export interface TensorArrayType {
  readonly BYTES_PER_ELEMENT: number
  new (length: number): TensorArray
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): TensorArray
  from(values: readonly number[]): TensorArray
}

export function readTensors(data: Data, size: number, ArrayType: TensorArrayType): TensorArray[] {
  const elements = tensorsIn(data, size, ArrayType)
  // Copy each: a view would keep the whole record alive and let one consumer change another's value.
  return Array.from({ length: data.length }, (_, row) =>
    elements.slice((data.offset + row) * size, (data.offset + row + 1) * size),
  )
}

/** One of a column's tensors, as a view of the column. @throws Error when it is null, or has a null element */
export function viewTensorAt(data: Data, row: number, size: number, ArrayType: TensorArrayType): TensorArray {
  if (!data.getValid(row)) throw new Error(`row ${row} is null`)
  return tensorsIn(data, size, ArrayType).subarray((data.offset + row) * size, (data.offset + row + 1) * size)
}

function tensorsIn(data: Data, size: number, ArrayType: TensorArrayType): TensorArray {
  const child = data.children[0] as Data
  // pyarrow writes null elements under a null tensor; any other null element is an error.
  for (let at = 0; child.nullCount > 0 && at < child.length; at++) {
    if (!child.getValid(at) && data.getValid(Math.floor(at / size))) throw new Error('a tensor holds a null element')
  }
  // apache-arrow reads float16 as uint16.
  const { buffer, byteOffset, length } = child.values as TensorArray
  return new ArrayType(buffer, byteOffset, length)
}

/** Bytes from the log are untrusted: an offset outside its buffer would read another value's memory. */
export function checkedOffsets(data: Data, limit: number): Int32Array {
  // Some writers leave out the single offset of an empty column.
  if (data.length === 0) return new Int32Array(1)
  const offsets = data.valueOffsets as Int32Array
  let before = 0
  for (let i = 0; i <= data.length; i++) {
    const at = offsets[i]
    if (at === undefined || at < before || at > limit) throw new Error(`an offset is out of range (${at} of ${limit})`)
    before = at
  }
  return offsets
}
