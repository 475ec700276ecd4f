import type { Event } from '../../../schemas/declare/event.ts'
import type { BlobRef } from '../../../schemas/declare/logical-types.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import {
  BlobUnavailableError,
  blobsToDecode,
  decodeEvent,
  offloadedBlobs,
  PoisonError,
} from '../../../schemas/wire/codec.ts'
import type { FetchedBlobs } from '../../../schemas/wire/offload.ts'
import { type Partitions, partitionsOf } from '../../../schemas/wire/partitions.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { BlobCorruptError, BlobMissingError, type Blobs, named } from '../../blobs/blobs.ts'
import type { LogRecord } from '../../log/port/log.ts'

/**
 * The event in a record, upcast to the current version. Stored tensors are references unless `elements` are asked for.
 *
 * @throws PoisonError when it is not an event of this topic, cannot be decoded (a missing or damaged blob included),
 * breaks its declaration, or is in the wrong partition for its key. Other errors (unreachable blob store) are
 * transient.
 */
export async function decodeRecord(
  record: LogRecord,
  vocabulary: Catalogue,
  partitions: Partitions,
  blobs: Pick<Blobs, 'get'>,
  tensors: 'references' | 'elements' = 'references',
): Promise<Event> {
  if (tensors === 'references') return await decodeSoon(record, vocabulary, partitions, blobs)
  return await decodeWith(offloadedBlobs(record), record, vocabulary, partitions, blobs)
}

/** Like `decodeRecord`, but synchronous when no blob is fetched: an await costs a third of decoding a small event. */
export function decodeSoon(
  record: LogRecord,
  vocabulary: Catalogue,
  partitions: Partitions,
  blobs: Pick<Blobs, 'get'>,
): Event | Promise<Event> {
  try {
    return eventOf(record, vocabulary, partitions, NONE)
  } catch (error) {
    if (!(error instanceof BlobUnavailableError)) throw error
    return decodeWith(blobsToDecode(record, vocabulary), record, vocabulary, partitions, blobs)
  }
}

/** Like `decodeRecord`. @returns undefined for a record that cannot be decoded */
export async function decodeUnlessPoison(...from: Parameters<typeof decodeSoon>): Promise<Event | undefined> {
  try {
    return await decodeSoon(...from)
  } catch (error) {
    if (error instanceof PoisonError) return undefined
    throw error
  }
}

async function decodeWith(
  refs: readonly BlobRef[],
  record: LogRecord,
  vocabulary: Catalogue,
  partitions: Partitions,
  blobs: Pick<Blobs, 'get'>,
): Promise<Event> {
  return eventOf(record, vocabulary, partitions, await fetchAll(refs, blobs))
}

/** An event of which lists of numbers that are valid may be left out, as empty ones, and the blobs that it needed. */
export interface CheckedEvent {
  readonly event: Event
  readonly blobs: FetchedBlobs
  /** In the blobs. */
  readonly bytes: number
}

/** Like `decodeRecord`, for readers that need all of the record to be valid and little of its contents. */
export async function checkRecord(
  record: LogRecord,
  vocabulary: Catalogue,
  partitions: Partitions,
  blobs: Pick<Blobs, 'get'>,
): Promise<CheckedEvent> {
  try {
    return { event: eventOf(record, vocabulary, partitions, NONE, 'checked'), blobs: NONE, bytes: 0 }
  } catch (error) {
    if (!(error instanceof BlobUnavailableError)) throw error
  }
  const refs = blobsToDecode(record, vocabulary)
  const fetched = await fetchAll(refs, blobs)
  const bytes = refs.reduce((sum, ref) => sum + ref.bytes, 0)
  return { event: eventOf(record, vocabulary, partitions, fetched, 'checked'), blobs: fetched, bytes }
}

const NONE: FetchedBlobs = () => undefined

/** A larger file cannot be read in one call. */
const MAX_COLUMN_BYTES = 2 ** 31 - 1

/** The blobs of a record's columns. @throws PoisonError when one is missing or damaged; other errors are transient */
export async function fetchAll(refs: readonly BlobRef[], blobs: Pick<Blobs, 'get'>): Promise<FetchedBlobs> {
  const fetched = new Map<string, Uint8Array>()
  for (const ref of refs) {
    if (fetched.has(ref.sha256)) continue
    if (ref.bytes > MAX_COLUMN_BYTES) {
      throw new PoisonError(`${named(ref)} holds a column: expected at most ${MAX_COLUMN_BYTES} bytes`)
    }
    const bytes = await blobs.get(ref).catch((error: unknown) => {
      if (error instanceof BlobMissingError || error instanceof BlobCorruptError) {
        throw new PoisonError(error.message, { cause: error })
      }
      throw error
    })
    fetched.set(ref.sha256, bytes)
  }
  return (sha256) => fetched.get(sha256)
}

function eventOf(
  record: LogRecord,
  vocabulary: Catalogue,
  partitions: Partitions,
  blobs: FetchedBlobs,
  lists: 'decoded' | 'checked' = 'decoded',
): Event {
  const event = decodeEvent(record, vocabulary, blobs, lists)
  if (event.type !== record.topic) {
    throw new PoisonError(`expected an event of type ${record.topic} in the topic of that name, got ${event.type}`)
  }
  if (vocabulary.get(event.type)?.routing === 'key') {
    const count = partitionsOf(partitions, event.type)
    const home = partitionOf(event.key, count)
    if (home !== record.partition) {
      throw new PoisonError(
        `key ${event.key} belongs to partition ${home} of ${count} (murmur2), found in ${record.partition}; the producer must partition by key`,
      )
    }
  }
  return event
}
