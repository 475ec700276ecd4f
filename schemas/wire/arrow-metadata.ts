import { Message, type Schema } from 'apache-arrow'

/**
 * Reads the metadata of Arrow IPC messages from untrusted bytes. A flatbuffer is tables that point at vectors;
 * apache-arrow trusts the length that a vector claims, so that one flipped bit makes it loop for minutes.
 * This reader checks every length against the bytes available, and DataView rejects reads outside them.
 */

export interface BatchHeader {
  readonly rows: number
  /** Pairs: length and null count of each column. */
  readonly nodes: readonly number[]
  /** Pairs: offset and length of each buffer. */
  readonly buffers: readonly number[]
  readonly compressed: boolean
}
export interface MessageMetadata {
  readonly bodyBytes: number
  /** Schema and record batch messages have exactly one of these; other messages have neither. */
  readonly schema?: () => Schema
  readonly batch?: () => BatchHeader
}

// Field numbers of the tables in Arrow's Message.fbs and Schema.fbs.
const MESSAGE = { headerType: 1, header: 2, bodyLength: 3 }
const BATCH = { length: 0, nodes: 1, buffers: 2, compression: 3 }
const SCHEMA = { fields: 1, metadata: 2 }
const FIELD = { children: 5, metadata: 6 }
const KEY_VALUE = { key: 0, value: 1 }
const HEADER_TYPES = { schema: 1, batch: 3 }
/** A FieldNode (length, null count) and a Buffer (offset, length) are each two 64-bit integers. */
const PAIR_BYTES = 16
const OFFSET_BYTES = 4

/** @throws Error when a length is not backed by bytes */
export function readMetadata(bytes: Uint8Array): MessageMetadata {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const root = view.getUint32(0, true)
  const headerTypeAt = fieldAt(view, root, MESSAGE.headerType)
  const headerType = headerTypeAt === undefined ? 0 : view.getUint8(headerTypeAt)
  const header = fieldAt(view, root, MESSAGE.header)
  const bodyAt = fieldAt(view, root, MESSAGE.bodyLength)
  const bodyBytes = bodyAt === undefined ? 0 : countAt(view, bodyAt)
  if (header !== undefined && headerType === HEADER_TYPES.schema) {
    return { bodyBytes, schema: () => readSchema(bytes, view, pointedAt(view, header)) }
  }
  if (header !== undefined && headerType === HEADER_TYPES.batch) {
    return { bodyBytes, batch: () => readBatch(view, pointedAt(view, header)) }
  }
  return { bodyBytes }
}

function readBatch(view: DataView, table: number): BatchHeader {
  const pairs = (field: number): number[] => {
    const { start, count } = vectorAt(view, table, field, PAIR_BYTES)
    const out: number[] = new Array(count * 2)
    for (let at = 0; at < out.length; at++) out[at] = countAt(view, start + at * 8)
    return out
  }
  const rowsAt = fieldAt(view, table, BATCH.length)
  return {
    rows: rowsAt === undefined ? 0 : countAt(view, rowsAt),
    nodes: pairs(BATCH.nodes),
    buffers: pairs(BATCH.buffers),
    compressed: fieldAt(view, table, BATCH.compression) !== undefined,
  }
}

/** Checks every vector that apache-arrow will follow, then lets it build the types. */
function readSchema(bytes: Uint8Array, view: DataView, table: number): Schema {
  let budget = bytes.length / OFFSET_BYTES
  const check = (parent: number, children: number, metadata: number): void => {
    const { start, count } = vectorAt(view, parent, children, OFFSET_BYTES)
    budget -= count + vectorAt(view, parent, metadata, OFFSET_BYTES).count
    // This also stops the recursion when a table points back at itself.
    if (budget < 0) throw new Error('the schema claims more fields than it has bytes for')
    for (let at = 0; at < count; at++) {
      check(pointedAt(view, start + at * OFFSET_BYTES), FIELD.children, FIELD.metadata)
    }
  }
  check(table, SCHEMA.fields, SCHEMA.metadata)
  return Message.decode(bytes).header() as Schema
}

/** Where the pointers to the texts are that the fields of a schema have under this key of their metadata. */
export function textPlaces(bytes: Uint8Array, key: string): { readonly field: number; readonly pointer: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const header = fieldAt(view, view.getUint32(0, true), MESSAGE.header)
  if (header === undefined) return []
  return tablesAt(view, pointedAt(view, header), SCHEMA.fields).flatMap((table, field) =>
    tablesAt(view, table, FIELD.metadata).flatMap((entry) => {
      const [named, pointer] = [fieldAt(view, entry, KEY_VALUE.key), fieldAt(view, entry, KEY_VALUE.value)]
      if (named === undefined || pointer === undefined) return []
      const at = pointedAt(view, named)
      const name = bytes.subarray(at + 4, at + 4 + view.getUint32(at, true))
      return Buffer.from(name).toString() === key ? [{ field, pointer }] : []
    }),
  )
}

function tablesAt(view: DataView, table: number, field: number): number[] {
  const { start, count } = vectorAt(view, table, field, OFFSET_BYTES)
  return Array.from({ length: count }, (_, at) => pointedAt(view, start + at * OFFSET_BYTES))
}

/** Position of a table's field; undefined when the table leaves it out. */
function fieldAt(view: DataView, table: number, field: number): number | undefined {
  const vtable = table - view.getInt32(table, true)
  const entry = 4 + 2 * field
  if (entry >= view.getUint16(vtable, true)) return undefined
  const offset = view.getUint16(vtable + entry, true)
  return offset === 0 ? undefined : table + offset
}

const pointedAt = (view: DataView, at: number) => at + view.getUint32(at, true)

function vectorAt(view: DataView, table: number, field: number, itemBytes: number): { start: number; count: number } {
  const at = fieldAt(view, table, field)
  if (at === undefined) return { start: 0, count: 0 }
  const vector = pointedAt(view, at)
  const count = view.getUint32(vector, true)
  const start = vector + 4
  if (start + count * itemBytes > view.byteLength) throw new Error(`a vector of ${count} does not lie in its message`)
  return { start, count }
}

function countAt(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true)
  if (high > 0x1f_ffff) throw new Error(`a length or offset is out of range (${view.getBigInt64(at, true)})`)
  return high * 2 ** 32 + view.getUint32(at, true)
}

/**
 * Positions of the numbers in a record batch's message. They are the same for every batch of a schema, so the next
 * batch's message can be made by overwriting the numbers of this one.
 */
export interface BatchPlaces {
  readonly bodyBytes: number
  readonly rows: number
  /** Positions of the first node and the first buffer; the others follow without gaps. */
  readonly nodes: number
  readonly buffers: number
}

/** @returns undefined when the message leaves out one of its numbers, which is allowed for a number that is 0 */
export function placesInBatch(bytes: Uint8Array): BatchPlaces | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const root = view.getUint32(0, true)
  const header = fieldAt(view, root, MESSAGE.header)
  const bodyBytes = fieldAt(view, root, MESSAGE.bodyLength)
  if (header === undefined || bodyBytes === undefined) return undefined
  const batch = pointedAt(view, header)
  const rows = fieldAt(view, batch, BATCH.length)
  if (rows === undefined) return undefined
  const nodes = vectorAt(view, batch, BATCH.nodes, PAIR_BYTES).start
  const buffers = vectorAt(view, batch, BATCH.buffers, PAIR_BYTES).start
  return { bodyBytes, rows, nodes, buffers }
}
