import { decodeEvent, offloadedBlobs, PoisonError } from '../../schemas/codec.ts'
import type { Event } from '../../schemas/event.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { partitionOf } from '../../schemas/routing.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from '../blobs/blobs.ts'
import type { LogRecord } from '../log/log.ts'

/**
 * The event in a record, upcast to the current version.
 *
 * @throws PoisonError when it is not an event of this topic, cannot be decoded, breaks its declaration, or lies in a
 * partition that its key does not belong to. Anything else (a blob that cannot be reached) is transient.
 */
export async function decodeRecord(
  record: LogRecord,
  vocabulary: Catalogue,
  partitions: number,
  blobs: Blobs,
): Promise<Event> {
  const fetched = new Map<string, Uint8Array>()
  for (const ref of offloadedBlobs(record)) {
    const bytes = await blobs.get(ref).catch((error: unknown) => {
      if (error instanceof BlobMissingError || error instanceof BlobCorruptError) throw new PoisonError(error.message)
      throw error
    })
    fetched.set(ref.sha256, bytes)
  }
  const event = decodeEvent(record, vocabulary, (sha256) => fetched.get(sha256))
  if (event.type !== record.topic) {
    throw new PoisonError(`expected an event of type ${record.topic} in the topic of that name, got ${event.type}`)
  }
  if (vocabulary.get(event.type)?.routing === 'key') {
    const home = partitionOf(event.key, partitions)
    if (home !== record.partition) {
      throw new PoisonError(
        `key ${event.key} belongs to partition ${home} of ${partitions} (murmur2), found in ${record.partition}; the producer must partition by key`,
      )
    }
  }
  return event
}
