import { createHash } from 'node:crypto'
import { Field as ArrowField, type Data, Null, Schema } from 'apache-arrow'
import { BlobUnavailableError, InvalidEventError, PoisonError } from '../declare/event-errors.ts'
import type { BlobRef, Field, Logical } from '../declare/logical-types.ts'
import { type StoredColumn, type TensorArray, TensorRef } from '../declare/tensor-value.ts'
import { columnOf } from './arrow-columns.ts'
import { arrowField } from './arrow-schema.ts'
import { readStream, writeStream } from './arrow-stream.ts'
import { declaredField } from './fingerprint.ts'
import type { Json } from './physical-type.ts'
import { SchemaMessage } from './schema-message.ts'
import { extentOf } from './tensor-passes.ts'
import { isTensorOf, tensorAt } from './tensor-type.ts'
import { physical } from './type-table.ts'
import { isSha256 } from './value-checks.ts'

/**
 * Stores large columns outside the event: a tensor or list column over the limit becomes an Arrow IPC stream in a blob.
 * The event's batch keeps the column, all null and of Arrow's null type; its field's metadata describes the original.
 */

export const OFFLOAD_OVER_BYTES = 64 * 1024
const METADATA = 'plumbline.offloaded'
export const ARROW_STREAM = 'application/vnd.apache.arrow.stream'

export interface Blob {
  readonly ref: BlobRef
  readonly bytes: Uint8Array
  /** The bytes were never given to other code, so they still have the hash of the reference. */
  readonly sealed?: true
}
/** Bytes by SHA-256, or undefined when they were not fetched. */
export type FetchedBlobs = (sha256: string) => Uint8Array | undefined

/** Describes an offloaded column, in the event itself: the blob, shape and statistics. */
export interface Offloaded extends StoredColumn {
  /** The declared type; for a tensor it includes dtype and shape. */
  readonly type: Json
}

export function shouldOffload({ logical }: Field, column: Data): boolean {
  return physical(logical).offloads && column.byteLength > OFFLOAD_OVER_BYTES
}

/** What an event has in place of a stored column: the text of its field's metadata, and a column of nulls. */
export interface Placeholder {
  readonly text: string
  readonly column: Data
}

/** The placeholder for the batch, and the blob that contains the column. */
export function offload(
  field: Field,
  column: Data,
  values: readonly unknown[],
  message: SchemaMessage,
): Placeholder & { readonly blob: Blob } {
  const rows = column.length
  const bytes = writeStream(message, [column], rows)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const ref: BlobRef = { sha256, bytes: bytes.length, media_type: ARROW_STREAM }
  const nulls = field.nullable ? { nulls: nullsOf(values) } : {}
  const stored: Offloaded = { ...ref, rows, type: declaredField(field), ...statisticsOf(values), ...nulls }
  return { ...placeholder(stored), blob: { ref, bytes, sealed: true } }
}

/** The message of a blob that contains a column of this field. */
export const blobMessage = (name: string, field: Field) => new SchemaMessage(new Schema([arrowField(name, field)]))

const nullsOf = (values: readonly unknown[]) => values.flatMap((value, row) => (value === null ? [row] : []))

const NULL = new Null()

const placeholder = (stored: StoredColumn): Placeholder => ({
  text: JSON.stringify(stored),
  column: columnOf(NULL, stored.rows, {}, stored.rows),
})

/** Sets of stored columns whose message is cached. An event has one or two; a forged log could have any number. */
const MAX_LAYOUTS = 16

/** The schema messages of one declaration, by which of its columns are stored in blobs. */
export class Layouts {
  readonly #schema: Schema
  readonly #known = new Map<string, SchemaMessage>()

  constructor(schema: Schema) {
    this.#schema = schema
    this.of([])
  }

  /** The message where these columns, by their place and ascending, are stored. */
  of(stored: readonly number[]): SchemaMessage {
    const name = stored.join()
    const known = this.#known.get(name)
    if (known !== undefined) return known
    const { fields, metadata } = this.#schema
    const actual = fields.map((field, at) =>
      stored.includes(at) ? new ArrowField(field.name, NULL, true, new Map([[METADATA, '']])) : field,
    )
    const message = new SchemaMessage(new Schema(actual, metadata), METADATA)
    if (this.#known.size < MAX_LAYOUTS) this.#known.set(name, message)
    return message
  }

  get known(): Iterable<SchemaMessage> {
    return this.#known.values()
  }
  get isFull(): boolean {
    return this.#known.size >= MAX_LAYOUTS
  }
}

/**
 * The placeholder of values that are references to a stored column; undefined when none of them is. No byte is read.
 *
 * @throws InvalidEventError when they are not the whole column, row by row
 */
export function passOn(
  name: string,
  values: readonly unknown[],
): (Placeholder & { readonly ref: BlobRef }) | undefined {
  const first = values.find((value) => value instanceof TensorRef)
  if (first === undefined) return undefined
  const { column } = first
  const nulls = new Set(column.nulls)
  const is_whole =
    values.length === column.rows &&
    values.every((value, row) =>
      value instanceof TensorRef
        ? value.row === row && value.column.sha256 === column.sha256
        : value === null && nulls.has(row),
    )
  if (!is_whole) {
    throw new InvalidEventError(
      `field ${name}: expected elements, or references to all ${column.rows} rows of one stored column in their order, got others; load the tensors of such an event`,
    )
  }
  const { sha256, bytes, media_type } = column
  return { ...placeholder(column), ref: { sha256, bytes, media_type } }
}

/**
 * References to the rows of a stored column, without its bytes; undefined when a null could be among them unseen, as in
 * records of earlier releases.
 *
 * @throws Error when the description is not that of a column of this field
 */
export function referencesTo(name: string, field: Field, stored: StoredColumn): (TensorRef | null)[] | undefined {
  if (field.nullable && stored.nulls === undefined) return undefined
  if (!isStored(stored)) throw new Error(`column ${name}: its description is damaged`)
  const references: (TensorRef | null)[] = []
  for (let row = 0; row < stored.rows; row++) references.push(new TensorRef(stored, row))
  for (const row of (field.nullable && stored.nulls) || []) if (row < stored.rows) references[row] = null
  return references
}

/** Rows that a description may claim: as many as an event of the largest size has. */
const MAX_ROWS = 2 ** 22

const isStored = ({ sha256, bytes, media_type, rows, numbers, min, max, mean, nulls = [] }: StoredColumn) =>
  isSha256(sha256) &&
  media_type === ARROW_STREAM &&
  [bytes, rows, numbers, ...nulls].every((count) => Number.isSafeInteger(count) && count >= 0) &&
  rows <= MAX_ROWS &&
  [min, max, mean].every((value) => value === null || Number.isFinite(value))

/**
 * The elements of one tensor, in an array of its own.
 *
 * @param bytes of the blob, whose hash was checked
 * @param become whether the bytes may become that array, because the caller does nothing else with them
 * @throws PoisonError when they are not that column
 */
export function readTensor({ column, row }: TensorRef, bytes: Uint8Array, become = false): TensorArray {
  const declared = column.type as unknown as Extract<Logical, { kind: 'tensor' }>
  const field: Field = { logical: declared, about: '', nullable: true }
  const fail = (problem: string) => new PoisonError(`blob ${column.sha256}: ${problem}`)
  try {
    const chunks = fetchColumn('', String(arrowField('', field).type), column, () => bytes)
    let at = row
    for (const chunk of chunks) {
      if (at < chunk.length) {
        const value = tensorAt(declared, chunk, at)
        if (isTensorOf(declared)(value)) return become ? value : value.slice()
        throw fail(`row ${row}: expected finite elements of shape [${declared.shape}]`)
      }
      at -= chunk.length
    }
  } catch (error) {
    throw error instanceof PoisonError ? error : fail((error as Error).message)
  }
  throw fail(`expected at least ${row + 1} rows`)
}

/** The description of an offloaded column, or undefined when the batch itself contains the column. */
export function offloadedIn(field: ArrowField): Offloaded | undefined {
  const text = field.metadata.get(METADATA)
  return text === undefined ? undefined : described(text)
}

/** @param text of a placeholder */
export const described = (text: string) => JSON.parse(text) as Offloaded

/** The offloaded columns of an event's Arrow stream, by name. @throws Error when the bytes are not such a stream */
export function offloadedColumns(value: Uint8Array): Readonly<Record<string, Offloaded>> {
  const stored = readStream(value).schema.fields.flatMap((field) => {
    const offloaded = offloadedIn(field)
    return offloaded === undefined ? [] : [[field.name, offloaded] as const]
  })
  return Object.fromEntries(stored)
}

/**
 * The chunks of an offloaded column; `type` is its Arrow type as text, `message` the one that its blob may begin with.
 *
 * @throws BlobUnavailableError when the blob was not fetched. Error when it is not the column.
 */
export function fetchColumn(
  name: string,
  type: string,
  ref: BlobRef,
  blobs: FetchedBlobs,
  message?: SchemaMessage,
): Data[] {
  const stream = readStream(fetched(name, ref, blobs), message && [message])
  const [field] = stream.schema.fields
  // Its name is that of the field in which it was first stored.
  if (String(field?.type) !== type) {
    throw new Error(`blob ${ref.sha256}: expected the column ${name} ${type}, got ${field?.name} ${field?.type}`)
  }
  return stream.batches().map(({ columns }) => columns[0] as Data)
}

/** An offloaded column as `offload` wrote it; undefined where its blob was written otherwise. @throws as fetchColumn */
export function storedColumn(
  name: string,
  ref: BlobRef,
  blobs: FetchedBlobs,
  message: SchemaMessage | undefined,
): Data | undefined {
  const bytes = fetched(name, ref, blobs)
  if (message === undefined) return undefined
  const { expected, batches } = readStream(bytes, [message])
  const [batch, ...more] = expected === undefined ? [] : batches()
  return more.length > 0 ? undefined : batch?.columns[0]
}

function fetched(name: string, { sha256 }: BlobRef, blobs: FetchedBlobs): Uint8Array {
  const bytes = blobs(sha256)
  if (bytes !== undefined) return bytes
  throw new BlobUnavailableError(`column ${name} is in blob ${sha256}, which was not fetched; see offloadedBlobs`)
}

interface Statistics {
  numbers: number
  min: number
  max: number
  sum: number
}

function statisticsOf(values: readonly unknown[]): Pick<Offloaded, 'numbers' | 'min' | 'max' | 'mean'> {
  const all: Statistics = { numbers: 0, min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, sum: 0 }
  addTo(all, values)
  const { numbers, min, max, sum } = all
  return numbers === 0 ? { numbers, min: null, max: null, mean: null } : { numbers, min, max, mean: sum / numbers }
}

function addTo(all: Statistics, values: readonly unknown[]): void {
  let { numbers, min, max, sum } = all
  for (const value of values) {
    if (typeof value !== 'number') continue
    numbers++
    if (value < min) min = value
    if (value > max) max = value
    sum += value
  }
  Object.assign(all, { numbers, min, max, sum })
  for (const value of values) {
    if (Array.isArray(value)) addTo(all, value)
    else if (ArrayBuffer.isView(value)) addArray(all, value as TensorArray)
  }
}

function addArray(all: Statistics, elements: TensorArray): void {
  const { min, max, sum } = extentOf(elements, all.sum)
  all.numbers += elements.length
  all.min = Math.min(all.min, min)
  all.max = Math.max(all.max, max)
  all.sum = sum
}
