import { decodeEvent, offloadedBlobs, PoisonError } from '../../schemas/codec.ts'
import { type EventType, rowsOf } from '../../schemas/event.ts'
import type { BlobRef, Field } from '../../schemas/logical-types.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { BlobMissingError, type Blobs } from '../blobs/blobs.ts'
import type { LogRecord } from '../log/log.ts'
import { DEAD_LETTERS_TOPIC } from './internal-topics.ts'

/** Every blob that a record names: large columns, images, and the raw bytes of a dead letter. */
export async function blobsNamedBy(
  record: LogRecord,
  vocabulary: Catalogue,
  blobs: Pick<Blobs, 'get'>,
): Promise<BlobRef[]> {
  if (record.value === null) return []
  if (record.topic === DEAD_LETTERS_TOPIC) return referencesIn(JSON.parse(Buffer.from(record.value).toString('utf8')))
  const type = vocabulary.get(record.topic)
  let columns: BlobRef[] = []
  try {
    columns = offloadedBlobs(record)
    if (type === undefined || !namesBlobs(type)) return columns
    const fetched = new Map<string, Uint8Array>()
    for (const ref of columns) fetched.set(ref.sha256, await blobs.get(ref))
    const event = decodeEvent(record, vocabulary, (sha256) => fetched.get(sha256))
    return [...columns, ...rowsOf(event).flatMap(referencesIn)]
  } catch (error) {
    // What nobody can read names nothing more.
    if (error instanceof PoisonError || error instanceof BlobMissingError) return columns
    throw error
  }
}

const naming = new WeakMap<EventType, boolean>()

function namesBlobs(type: EventType): boolean {
  const known = naming.get(type)
  if (known !== undefined) return known
  const rows = [type.row, ...type.earlier.map(({ row }) => row)]
  const found = rows.some((row) => Object.values(row).some(holdsBlob))
  naming.set(type, found)
  return found
}

function holdsBlob({ logical }: Field): boolean {
  switch (logical.kind) {
    case 'blob':
    case 'image':
      return true
    case 'list':
      return holdsBlob(logical.item)
    case 'map':
      return holdsBlob(logical.value)
    case 'struct':
      return Object.values(logical.fields).some(holdsBlob)
    default:
      return false
  }
}

function referencesIn(value: unknown): BlobRef[] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return []
  if (Array.isArray(value)) return value.flatMap(referencesIn)
  const { sha256, bytes, media_type } = value as Partial<BlobRef>
  if (typeof sha256 === 'string' && typeof bytes === 'number' && typeof media_type === 'string') {
    return [{ sha256, bytes, media_type }]
  }
  return Object.values(value).flatMap(referencesIn)
}
