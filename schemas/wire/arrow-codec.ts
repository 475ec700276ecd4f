import { type Data, Schema } from 'apache-arrow'
import type { BlobRef, Field, Fields } from '../declare/logical-types.ts'
import { type ColumnReader, type ColumnWriter, columnOf, packBits } from './arrow-columns.ts'
import { END_OF_STREAM } from './arrow-frame.ts'
import { arrowField, arrowSchemaOf } from './arrow-schema.ts'
import { readStream, writeBatch, writeStream } from './arrow-stream.ts'
import { checkedLists } from './checked-lists.ts'
import {
  type Blob,
  blobMessage,
  described,
  type FetchedBlobs,
  fetchColumn,
  Layouts,
  type Offloaded,
  offload,
  offloadedIn,
  passOn,
  referencesTo,
  shouldOffload,
  storedColumn,
} from './offload.ts'
import { rowMaker } from './row-maker.ts'
import { SchemaMessage } from './schema-message.ts'
import { physical } from './type-table.ts'

export type Row = Record<string, unknown>

/** Encodes rows of one declaration as one Arrow IPC stream, and decodes them. */
export interface ArrowCodec {
  readonly schema: Schema
  /** The rows must be valid. Large list and tensor columns are returned as blobs, outside the stream. */
  encode(rows: readonly Row[]): EncodedRows
  /**
   * Does not validate the values.
   * @param references whether tensors of a blob that was not fetched are decoded as references
   * @param lists `checked`: lists of numbers that are valid are decoded as empty ones
   * @throws Error when the bytes are no such stream. BlobUnavailableError when a column's blob was not fetched.
   */
  decode(bytes: Uint8Array, blobs: FetchedBlobs, references: boolean, lists?: Lists): Row[]
  /** One stream of several batches of this declaration. */
  join(parts: readonly JoinPart[], metadata: ReadonlyMap<string, string>): Uint8Array[]
}

/** `checked`: lists of numbers that are valid are left out, as empty ones. */
export type Lists = 'decoded' | 'checked'

/** What becomes a batch of a joined stream: a stream of this declaration with its blobs, or its rows. */
export interface JoinPart {
  readonly bytes: Uint8Array | undefined
  readonly blobs: FetchedBlobs
  readonly rows: () => readonly Row[]
}

export interface EncodedRows {
  readonly bytes: Uint8Array
  /** New large columns. */
  readonly blobs: readonly Blob[]
  /** All large columns, those too that the rows only refer to. */
  readonly refs: readonly BlobRef[]
}

/** Compile once for each declaration, which is that of an event type or of an earlier version. */
export function arrowCodec(fields: Fields, metadata?: ReadonlyMap<string, string>): ArrowCodec {
  const schema = arrowSchemaOf(fields, metadata)
  const columns = Object.entries(fields).map(([name, field]) => ({
    name,
    field,
    type: String(arrowField(name, field).type),
    write: columnWriter(field),
    read: columnReader(field),
    blobOf: physical(field.logical).offloads ? once(() => blobMessage(name, field)) : undefined,
  }))
  const layouts = new Layouts(schema)
  const names = new Set(Object.keys(fields))
  const makeRows = rowMaker(Object.keys(fields))
  const declared: readonly Place[] = columns.map((_, at) => ({ at, ref: undefined }))
  const placesIn = (found: Schema): Place[] => {
    const extra = found.fields.find(({ name }) => !names.has(name))
    if (extra !== undefined) throw new Error(`column ${extra.name}: the declaration has no such field`)
    const places = columns.map(({ name, type }) => placeOf(found, name, type))
    // The next stream of the same writer need not be parsed.
    if (!layouts.isFull) layouts.of(places.flatMap(({ ref }, at) => (ref === undefined ? [] : [at])))
    return places
  }
  const placesOf = (message: SchemaMessage, texts: readonly string[]): readonly Place[] => {
    if (texts.length === 0) return declared
    const places = [...declared]
    message.described.forEach((at, text) => {
      places[at] = { at, ref: described(texts[text] as string) }
    })
    return places
  }

  /** A stream's batch with the columns of its blobs; undefined where the stream or a blob was written otherwise. */
  const withBlobs = (bytes: Uint8Array | undefined, fetched: FetchedBlobs): Uint8Array[] | undefined => {
    if (bytes === undefined) return undefined
    const { expected, batches } = readStream(bytes, layouts.known)
    const [batch, ...more] = expected === undefined ? [] : batches()
    if (expected === undefined || batch === undefined || more.length > 0) return undefined
    const places = placesOf(expected.message, expected.texts)
    const whole: Data[] = []
    for (const [index, { name, blobOf }] of columns.entries()) {
      const { at, ref } = places[index] as Place
      const column = ref === undefined ? batch.columns[at] : storedColumn(name, ref, fetched, blobOf?.())
      if (column?.length !== batch.rows) return undefined
      whole.push(column)
    }
    return writeBatch(schema, whole, batch.rows)
  }

  return {
    schema,
    encode(rows) {
      const blobs: Blob[] = []
      const refs: BlobRef[] = []
      const stored: number[] = []
      const texts: string[] = []
      const written = columns.map(({ name, field, write, blobOf }, at) => {
        const values = rows.map((row) => row[name])
        if (blobOf === undefined) return write(values)
        const passed = physical(field.logical).by_reference ? passOn(name, values) : undefined
        if (passed !== undefined) {
          stored.push(at)
          texts.push(passed.text)
          refs.push(passed.ref)
          return passed.column
        }
        const column = write(values)
        if (!shouldOffload(field, column)) return column
        const moved = offload(field, column, values, blobOf())
        stored.push(at)
        texts.push(moved.text)
        blobs.push(moved.blob)
        refs.push(moved.blob.ref)
        return moved.column
      })
      return { bytes: writeStream(layouts.of(stored), written, rows.length, texts), blobs, refs }
    },

    decode(bytes, fetched, references, lists = 'decoded') {
      const { schema: found, expected, batches: readBatches } = readStream(bytes, layouts.known)
      const places = expected ? placesOf(expected.message, expected.texts) : placesIn(found)
      const batches = readBatches()
      const count = batches.reduce((sum, batch) => sum + batch.rows, 0)
      const values = columns.map(({ name, field, type, read, blobOf }, index) => {
        const { at, ref } = places[index] as Place
        if (
          ref !== undefined &&
          references &&
          physical(field.logical).by_reference &&
          fetched(ref.sha256) === undefined
        ) {
          const found = referencesTo(name, field, ref)
          if (found !== undefined) return ofLength(name, found, count)
        }
        const chunks = ref
          ? fetchColumn(name, type, ref, fetched, blobOf?.())
          : batches.map((batch) => batch.columns[at] as Data)
        const readChunk = (chunk: Data) => (lists === 'checked' ? checkedLists(field, chunk) : undefined) ?? read(chunk)
        const found = chunks.length === 1 ? readChunk(chunks[0] as Data) : chunks.flatMap(readChunk)
        return ofLength(name, found, count)
      })
      return makeRows(values, count)
    },

    join(parts, metadata) {
      const own = layouts.of([])
      const plain = own.write([])
      const named = new Schema(schema.fields, new Map([...schema.metadata, ...metadata]))
      const batches = parts.flatMap(({ bytes, blobs, rows }) => {
        if (bytes !== undefined && Buffer.compare(bytes.subarray(0, plain.length), plain) === 0) {
          return [bytes.subarray(plain.length, bytes.length - END_OF_STREAM.length)]
        }
        return withBlobs(bytes, blobs) ?? wholeBatch(schema, columns, rows())
      })
      return [new SchemaMessage(named).write([]), ...batches, END_OF_STREAM]
    },
  }
}

/** A batch of which no column is in a blob. */
function wholeBatch(
  schema: Schema,
  columns: readonly { readonly name: string; readonly write: ColumnWriter }[],
  rows: readonly Row[],
): Uint8Array[] {
  const written = columns.map(({ name, write }) => write(rows.map((row) => row[name])))
  return writeBatch(schema, written, rows.length)
}

/** Most events have no column that is large enough for a blob, so its message is made when one has. */
function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

function ofLength(name: string, found: unknown[], count: number): unknown[] {
  if (found.length !== count) throw new Error(`column ${name}: expected ${count} values, got ${found.length}`)
  return found
}

/** Where a declared column is stored: in the batches, or in a blob. */
interface Place {
  readonly at: number
  readonly ref: Offloaded | undefined
}

function placeOf({ fields }: Schema, name: string, type: string): Place {
  const at = fields.findIndex((field) => field.name === name)
  const field = fields[at]
  if (field === undefined) throw new Error(`column ${name} is missing`)
  const ref = offloadedIn(field)
  if (ref === undefined && String(field.type) !== type) {
    throw new Error(`column ${name}: expected Arrow ${type}, got ${field.type}`)
  }
  return { at, ref }
}

/** Longest column of nulls that is cached between calls, in rows. */
const KEPT_NULLS = 256

/** Accepts nulls if the field is nullable; under a null it writes the type's blank value. */
function columnWriter(field: Field): ColumnWriter {
  const row = physical(field.logical)
  const { type } = arrowField('', field)
  const write = row.arrowWrite(field.logical, columnWriter, type)
  if (!field.nullable) return (values) => columnOf(type, values.length, write(values))
  const blank = blankOf({ ...field, nullable: false })
  // Many columns are null in a whole batch: reuse the last all-null column when the length is the same.
  let allNull: Data | undefined
  return (values) => {
    let nulls = 0
    for (const value of values) if (value === null) nulls++
    if (nulls === 0) return columnOf(type, values.length, write(values))
    if (nulls === values.length && nulls === allNull?.length) return allNull
    const bitmap = packBits(values.length, (i) => values[i] !== null)
    const filled = values.map((value) => (value === null ? blank : value))
    const column = columnOf(type, values.length, write(filled), nulls, bitmap)
    if (nulls === values.length && nulls <= KEPT_NULLS) allNull = column
    return column
  }
}

/** Returns Arrow's nulls even where the field is not nullable: validation then names the unexpected one. */
function columnReader(field: Field): ColumnReader {
  const read = physical(field.logical).arrowRead(field.logical, columnReader)
  return (data) => {
    const bits = data.nullBitmap
    // Without a bitmap no value is null, even if the null count is positive.
    if (data.nullCount === 0 || bits === undefined || bits.length === 0) return read(data)
    const isValid = (row: number) => ((bits[(data.offset + row) >> 3] ?? 0) & (1 << ((data.offset + row) & 7))) !== 0
    let valid = 0
    for (let i = 0; i < data.length; i++) if (isValid(i)) valid++
    if (valid === 0) return new Array(data.length).fill(null)
    const values = read(data)
    for (let i = 0; i < values.length; i++) if (!isValid(i)) values[i] = null
    return values
  }
}

function blankOf({ logical, nullable }: Field): unknown {
  return nullable ? null : physical(logical).blank(logical, blankOf)
}
