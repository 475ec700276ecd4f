import { type Data, DataType, type Field, type Schema } from 'apache-arrow'
import { BufferRegion, FieldNode, Message, RecordBatch } from 'apache-arrow/ipc/metadata/message'
import { columnOf } from './arrow-columns.ts'
import { CONTINUATION, END_OF_STREAM, framed, PREFIX_BYTES, padded } from './arrow-frame.ts'
import {
  type BatchHeader,
  type BatchPlaces,
  type MessageMetadata,
  placesInBatch,
  readMetadata,
} from './arrow-metadata.ts'
import type { SchemaMessage } from './schema-message.ts'

/**
 * Arrow IPC streams: the format of an Arrow event's value and of an offloaded column. apache-arrow writes the metadata
 * and builds schemas. Framing and buffers are handled here, because apache-arrow's readers and writers are made for
 * large tables: on a batch of sixteen rows they cost several times the work itself.
 */

/**
 * Values that a stream may claim for each of its bytes, all batches and columns together. Writers need at least one bit
 * for each value, and no schema has enough all-null columns to come near this limit. A stream that claims more has
 * overlapping buffers, or none.
 */
const VALUES_PER_BYTE = 32
/** Additional allowance, for small streams whose columns are in blobs. */
const MORE_VALUES = 65_536

/** The message last written for a schema's batch, and the positions of the numbers to overwrite. */
interface BatchTemplate {
  readonly frame: Buffer
  readonly places: BatchPlaces
}

const templates = new WeakMap<Schema, BatchTemplate>()

/**
 * A record batch's message. apache-arrow makes the first one for a schema; later ones have the same layout and other
 * numbers. `nodes` are pairs of length and null count, `regions` are pairs of offset and length.
 */
function batchMessage(schema: Schema, rows: number, bodyBytes: number, nodes: number[], regions: number[]): Uint8Array {
  // A flatbuffer leaves out a number that is 0, so the template has no position for it.
  if (rows === 0 || bodyBytes === 0) return newBatchMessage(rows, bodyBytes, nodes, regions)
  const known = templates.get(schema)
  if (known === undefined) {
    const frame = Buffer.from(newBatchMessage(rows, bodyBytes, nodes, regions))
    const places = placesInBatch(frame.subarray(PREFIX_BYTES))
    if (places !== undefined) templates.set(schema, { frame, places })
    return frame
  }
  const { frame, places } = known
  const view = new DataView(frame.buffer, frame.byteOffset + PREFIX_BYTES, frame.length - PREFIX_BYTES)
  putCount(view, places.bodyBytes, bodyBytes)
  putCount(view, places.rows, rows)
  for (let i = 0; i < nodes.length; i++) putCount(view, places.nodes + i * 8, nodes[i] as number)
  for (let i = 0; i < regions.length; i++) putCount(view, places.buffers + i * 8, regions[i] as number)
  return frame
}

function newBatchMessage(rows: number, bodyBytes: number, nodes: number[], regions: number[]): Uint8Array {
  const pairs = (numbers: number[]) => numbers.flatMap((one, i) => (i % 2 === 0 ? [[one, numbers[i + 1] ?? 0]] : []))
  const fields = pairs(nodes).map(([length, nullCount]) => new FieldNode(length as number, nullCount as number))
  const buffers = pairs(regions).map(([offset, length]) => new BufferRegion(offset as number, length as number))
  return framed(Message.encode(Message.from(new RecordBatch(rows, fields, buffers, null), bodyBytes)))
}

function putCount(view: DataView, at: number, count: number): void {
  view.setUint32(at, count, true)
  view.setUint32(at + 4, Math.floor(count / 2 ** 32), true)
}

/**
 * A stream of one batch. Columns must begin at offset 0 of their buffers, as `columnOf` makes them.
 *
 * @param texts of the fields that the message describes
 */
export function writeStream(
  message: SchemaMessage,
  columns: readonly Data[],
  rows: number,
  texts: readonly string[] = [],
): Uint8Array {
  const schemaFrame = message.write(texts)
  const { frame, buffers, regions, bodyBytes } = batchOf(message.schema, columns, rows)
  const bodyStart = schemaFrame.length + frame.length
  const out = new Uint8Array(bodyStart + bodyBytes + END_OF_STREAM.length)
  out.set(schemaFrame)
  out.set(frame, schemaFrame.length)
  buffers.forEach((buffer, at) => {
    if (buffer.byteLength > 0) out.set(bytesOf(buffer), bodyStart + (regions[at * 2] as number))
  })
  out.set(END_OF_STREAM, bodyStart + bodyBytes)
  return out
}

/** Smaller buffers are copied into one piece. */
const OWN_PIECE_BYTES = 32 * 1024

/** The bytes of one batch as they are in a stream, in pieces; large buffers are not copied. */
export function writeBatch(schema: Schema, columns: readonly Data[], rows: number): Uint8Array[] {
  const { frame, buffers, regions, bodyBytes } = batchOf(schema, columns, rows)
  const pieces: Uint8Array[] = []
  let small: Uint8Array[] = [frame]
  const endOf = (at: number) => (regions[at * 2] ?? bodyBytes) as number
  buffers.forEach((buffer, at) => {
    const bytes = bytesOf(buffer)
    if (bytes.length < OWN_PIECE_BYTES) small.push(bytes)
    else {
      pieces.push(Buffer.concat(small), bytes)
      small = []
    }
    const padding = endOf(at + 1) - endOf(at) - bytes.length
    if (padding > 0) small.push(PADDING.subarray(0, padding))
  })
  return [...pieces, Buffer.concat(small)]
}

const PADDING = new Uint8Array(64)

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength)

interface Batch {
  /** Its message, which the next batch of the schema overwrites. */
  readonly frame: Uint8Array
  readonly buffers: readonly ArrayBufferView[]
  /** Pairs of offset in the body and length, one for each buffer. */
  readonly regions: readonly number[]
  readonly bodyBytes: number
}

function batchOf(schema: Schema, columns: readonly Data[], rows: number): Batch {
  const nodes: number[] = []
  const regions: number[] = []
  const buffers: ArrayBufferView[] = []
  let bodyBytes = 0
  const addBuffer = (buffer: ArrayBufferView) => {
    buffers.push(buffer)
    regions.push(bodyBytes, buffer.byteLength)
    bodyBytes += padded(buffer.byteLength)
  }
  const addColumn = (column: Data) => {
    nodes.push(column.length, column.nullCount)
    if (DataType.isNull(column.type)) return
    addBuffer(column.nullCount > 0 ? column.nullBitmap : NO_BYTES)
    if (column.valueOffsets !== undefined) addBuffer(column.valueOffsets)
    if (column.values !== undefined) addBuffer(column.values as ArrayBufferView)
    for (const child of column.children) addColumn(child)
  }
  for (const column of columns) addColumn(column)
  return { frame: batchMessage(schema, rows, bodyBytes, nodes, regions), buffers, regions, bodyBytes }
}

const NO_BYTES = new Uint8Array(0)

export interface ArrowStream {
  readonly schema: Schema
  /** Which of the expected messages the stream begins with, and its texts there. */
  readonly expected?: { readonly message: SchemaMessage; readonly texts: readonly string[] }
  /**
   * The columns of each batch. Call this only after checking that the codec writes this schema.
   * @throws Error when the bytes contain less than they claim
   */
  batches(): { readonly rows: number; readonly columns: Data[] }[]
}

/**
 * @param expected messages of schemas; one that the stream begins with is not parsed again
 * @throws Error when the bytes are not an Arrow IPC stream
 */
export function readStream(unaligned: Uint8Array, expected: Iterable<SchemaMessage> = []): ArrowStream {
  // Arrow's buffers are eight-byte aligned within the stream; a record may begin at any byte of a fetch.
  const bytes = unaligned.byteOffset % 8 === 0 ? unaligned : new Uint8Array(unaligned)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const nextMessage = (at: number): { message: MessageMetadata; bodyStart: number; end: number } | undefined => {
    if (at + PREFIX_BYTES > bytes.length) return undefined
    if (view.getInt32(at, true) !== CONTINUATION) throw new Error(`no Arrow IPC message at byte ${at}`)
    const length = view.getInt32(at + 4, true)
    if (length === 0) return undefined
    const bodyStart = at + PREFIX_BYTES + length
    if (length < 0 || bodyStart > bytes.length) throw new Error(`the message at byte ${at} is cut off`)
    const message = readMetadata(bytes.subarray(at + PREFIX_BYTES, bodyStart))
    const end = bodyStart + message.bodyBytes
    if (end > bytes.length) throw new Error(`the body at byte ${bodyStart} is cut off`)
    return { message, bodyStart, end }
  }

  const known = beginningOf(bytes, expected)
  const first = known ? undefined : nextMessage(0)
  const schema = known ? known.message.schema : first?.message.schema?.()
  if (schema === undefined) throw new Error('the stream does not begin with a schema')
  const start = known ? known.end : (first?.end ?? 0)

  return {
    schema,
    ...(known && { expected: known }),
    batches() {
      const batches = []
      const budget = { values: bytes.length * VALUES_PER_BYTE + MORE_VALUES }
      for (let next = nextMessage(start); next !== undefined; next = nextMessage(next.end)) {
        const batch = next.message.batch?.()
        if (batch === undefined) throw new Error('a message is not a record batch; dictionaries are not read')
        if (batch.compressed) throw new Error('the record batch is compressed; write it without')
        const body = bytes.subarray(next.bodyStart, next.end)
        const columns = readColumns(schema, batch, body, budget)
        if (columns.some(({ length }) => length !== batch.rows)) throw new Error('columns differ in length')
        batches.push({ rows: batch.rows, columns })
      }
      return batches
    },
  }
}

function beginningOf(bytes: Uint8Array, expected: Iterable<SchemaMessage>) {
  for (const message of expected) {
    const found = message.read(bytes)
    if (found !== undefined) return { message, ...found }
  }
  return undefined
}

/** In the order of the format: a column's node, its buffers (validity, offsets, values), then its children. */
function readColumns(
  schema: Schema,
  { nodes, buffers }: BatchHeader,
  body: Uint8Array,
  budget: { values: number },
): Data[] {
  let nextNode = 0
  let nextBuffer = 0
  const takeBuffer = <T>(View: ViewType<T>): T => {
    const offset = buffers[nextBuffer] as number
    const length = buffers[nextBuffer + 1]
    nextBuffer += 2
    if (length === undefined || offset + length > body.length) throw new Error('a buffer is cut off')
    return new View(body.buffer, body.byteOffset + offset, Math.floor(length / View.BYTES_PER_ELEMENT))
  }
  const readColumn = ({ type }: Field): Data => {
    const length = nodes[nextNode]
    const nullCount = nodes[nextNode + 1]
    nextNode += 2
    if (length === undefined || nullCount === undefined) throw new Error('a column is missing')
    // A length without a buffer behind it would make a reader loop, or allocate, for ever.
    budget.values -= length
    if (budget.values < 0) throw new Error(`a column of ${length} values cannot lie in a batch of ${body.length} bytes`)
    if (DataType.isNull(type)) return columnOf(type, length, {}, length)
    const validity = takeBuffer(Uint8Array)
    const hasOffsets = DataType.isUtf8(type) || DataType.isList(type) || DataType.isMap(type)
    const offsets = hasOffsets ? { offsets: takeBuffer(Int32Array) } : {}
    const children: Field[] = type.children ?? []
    const values = children.length === 0 ? { values: takeBuffer<unknown>(type.ArrayType) } : {}
    return columnOf(type, length, { ...offsets, ...values, children: children.map(readColumn) }, nullCount, validity)
  }
  return schema.fields.map(readColumn)
}

type ViewType<T> = { new (buffer: ArrayBufferLike, byteOffset: number, length: number): T; BYTES_PER_ELEMENT: number }
