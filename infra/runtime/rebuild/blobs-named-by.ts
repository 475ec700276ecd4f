import { type Event, type EventType, rowsOf } from '../../../schemas/declare/event.ts'
import { type BlobRef, kindIn } from '../../../schemas/declare/logical-types.ts'
import { perObject } from '../../../schemas/declare/per-object.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import { blobsToDecode, decodeEvent, offloadedBlobs, PoisonError } from '../../../schemas/wire/codec.ts'
import { BlobMissingError, type Blobs } from '../../blobs/blobs.ts'
import type { LogRecord } from '../../log/port/log.ts'
import { ForeignRecordError } from '../internal/foreign-record.ts'
import { deadLetterIn } from '../internal/internal-records.ts'
import { DEAD_LETTERS_TOPIC } from '../internal/internal-topics.ts'

/** Every blob that a record references: large columns, blobs and images in its rows, raw bytes of a dead letter. */
export async function blobsNamedBy(
  record: LogRecord,
  vocabulary: Catalogue,
  blobs: Pick<Blobs, 'get'>,
): Promise<BlobRef[]> {
  if (record.value === null) return []
  if (record.topic === DEAD_LETTERS_TOPIC) return blobsOfLetter(record)
  const type = vocabulary.get(record.topic)
  let columns: BlobRef[] = []
  try {
    columns = offloadedBlobs(record)
    if (type === undefined || !namesBlobs(type)) return columns
    const fetched = new Map<string, Uint8Array>()
    for (const ref of blobsToDecode(record, vocabulary)) fetched.set(ref.sha256, await blobs.get(ref))
    const event = decodeEvent(record, vocabulary, (sha256) => fetched.get(sha256))
    return [...columns, ...blobsIn(type, event)]
  } catch (error) {
    // The rows of an unreadable event reference nothing more.
    if (error instanceof PoisonError || error instanceof BlobMissingError) return columns
    throw error
  }
}

/** Blobs that the rows of an event reference, without the columns that its record stores as blobs. */
export function blobsIn(type: EventType, event: Event): BlobRef[] {
  return namesBlobs(type) ? rowsOf(event).flatMap(referencesIn) : []
}

/** None for a foreign record. */
function blobsOfLetter(record: LogRecord): BlobRef[] {
  try {
    const { value_blob } = deadLetterIn(record, 0)
    return value_blob === null ? [] : [value_blob]
  } catch (error) {
    if (error instanceof ForeignRecordError) return []
    throw error
  }
}

/** A declared value may reference any: its own declaration has its fields. */
const NAMING = ['blob', 'image', 'declared'] as const

const namesBlobs = perObject((type: EventType) =>
  [type, ...type.earlier].some(({ row }) => Object.values(row).some(({ logical }) => kindIn(logical, NAMING))),
)

/** All blob references at any depth of a value. References of images are returned whole. */
export function referencesIn(value: unknown): BlobRef[] {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return []
  if (Array.isArray(value)) return value.flatMap(referencesIn)
  const { sha256, bytes, media_type } = value as Partial<BlobRef>
  if (typeof sha256 === 'string' && typeof bytes === 'number' && typeof media_type === 'string') {
    return [value as BlobRef]
  }
  return Object.values(value).flatMap(referencesIn)
}
