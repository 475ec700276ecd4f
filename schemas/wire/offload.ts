import { createHash } from 'node:crypto'
import { Field as ArrowField, type Data, Null, Schema } from 'apache-arrow'
import { BlobUnavailableError } from '../declare/event-errors.ts'
import type { BlobRef, Field } from '../declare/logical-types.ts'
import { columnOf } from './arrow-columns.ts'
import { arrowField } from './arrow-schema.ts'
import { readStream, writeStream } from './arrow-stream.ts'
import { declaredField } from './fingerprint.ts'
import type { Json } from './physical-type.ts'
import { physical } from './type-table.ts'

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
}
/** Bytes by SHA-256, or undefined when they were not fetched. */
export type FetchedBlobs = (sha256: string) => Uint8Array | undefined

/** Describes an offloaded column, in the event itself: the blob, shape and statistics. */
export interface Offloaded extends BlobRef {
  readonly rows: number
  /** The declared type; for a tensor it includes dtype and shape. */
  readonly type: Json
  /** Count of the numbers in the column, at any nesting depth. Without any, the three below are null. */
  readonly numbers: number
  readonly min: number | null
  readonly max: number | null
  readonly mean: number | null
}

export function shouldOffload({ logical }: Field, column: Data): boolean {
  return physical(logical).offloads && column.byteLength > OFFLOAD_OVER_BYTES
}

/** The placeholder for the batch, and the blob that contains the column. */
export function offload(
  name: string,
  field: Field,
  column: Data,
  values: readonly unknown[],
): { readonly field: ArrowField; readonly column: Data; readonly blob: Blob } {
  const rows = column.length
  const bytes = writeStream(new Schema([arrowField(name, field)]), [column], rows)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const ref: BlobRef = { sha256, bytes: bytes.length, media_type: ARROW_STREAM }
  const said: Offloaded = { ...ref, rows, type: declaredField(field), ...statisticsOf(values) }
  return {
    field: new ArrowField(name, new Null(), true, new Map([[METADATA, JSON.stringify(said)]])),
    column: columnOf(new Null(), rows, {}, rows),
    blob: { ref, bytes },
  }
}

/** The blob of an offloaded column, or undefined when the batch itself contains the column. */
export function offloadedIn(field: ArrowField): BlobRef | undefined {
  const said = field.metadata.get(METADATA)
  if (said === undefined) return undefined
  const { sha256, bytes, media_type } = JSON.parse(said) as Offloaded
  return { sha256, bytes, media_type }
}

/** The offloaded columns of an event's Arrow stream, by name. @throws Error when the bytes are not such a stream */
export function offloadedColumns(value: Uint8Array): Readonly<Record<string, Offloaded>> {
  const described = readStream(value).schema.fields.flatMap(({ name, metadata }) => {
    const said = metadata.get(METADATA)
    return said === undefined ? [] : [[name, JSON.parse(said) as Offloaded] as const]
  })
  return Object.fromEntries(described)
}

/**
 * The chunks of an offloaded column; `type` is its Arrow type as text.
 *
 * @throws BlobUnavailableError when the blob was not fetched. Error when it is not the column.
 */
export function fetchColumn(name: string, type: string, ref: BlobRef, blobs: FetchedBlobs): Data[] {
  const bytes = blobs(ref.sha256)
  if (bytes === undefined) {
    throw new BlobUnavailableError(`column ${name} is in blob ${ref.sha256}, which was not fetched; see offloadedBlobs`)
  }
  const stream = readStream(bytes)
  const [field] = stream.schema.fields
  const actual = `${field?.name} ${field?.type}`
  if (actual !== `${name} ${type}`) {
    throw new Error(`blob ${ref.sha256}: expected the column ${name} ${type}, got ${actual}`)
  }
  return stream.batches().map(({ columns }) => columns[0] as Data)
}

function statisticsOf(values: readonly unknown[]) {
  let numbers = 0
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  let sum = 0
  const visit = (value: unknown): void => {
    if (typeof value === 'number') {
      numbers++
      if (value < min) min = value
      if (value > max) max = value
      sum += value
    } else if (Array.isArray(value) || ArrayBuffer.isView(value)) {
      for (const item of value as Iterable<unknown>) visit(item)
    }
  }
  visit(values)
  return numbers === 0 ? { numbers, min: null, max: null, mean: null } : { numbers, min, max, mean: sum / numbers }
}
