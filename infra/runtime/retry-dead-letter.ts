import { encodeEvent, PoisonError } from '../../schemas/codec.ts'
import type { Event, EventType } from '../../schemas/event.ts'
import { derivedId, sourceId } from '../../schemas/identity.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { partitionOf } from '../../schemas/routing.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log, LogRecord } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from './internal-topics.ts'
import { readJson } from './json-records.ts'
import { mergeRanges, wholeTopic } from './merge-ranges.ts'

/** A dead letter in the log. */
export interface FoundLetter {
  /** Its name on the command line: from its place in the log, so that it never changes. */
  readonly number: number
  readonly partition: number
  readonly offset: bigint
  readonly appended_ms: number
  readonly letter: DeadLetter
}

export interface RetryOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
}

export type Retried =
  | { readonly outcome: 'appended'; readonly ce_id: string }
  | { readonly outcome: 'already'; readonly ce_id: string }
  | { readonly outcome: 'refused'; readonly reason: string }

export const RETRY_SOURCE = '/operators/dlq-retry'

/** Every dead letter, in the order in which the log took them. */
export async function* deadLetters(log: Log): AsyncGenerator<FoundLetter> {
  const exists = (await log.topics()).some(({ name }) => name === DEAD_LETTERS_TOPIC)
  if (!exists) return
  const ranges = await wholeTopic(log, DEAD_LETTERS_TOPIC)
  for await (const record of mergeRanges(log, ranges, ({ appended_ms }) => appended_ms)) {
    const { partition, offset, appended_ms } = record
    const number = Number(offset) * ranges.length + partition + 1
    yield { number, partition, offset, appended_ms, letter: readJson<DeadLetter>(record) }
  }
}

/** The bytes that the processor could not take. */
export async function rawValue(letter: DeadLetter, blobs: Blobs): Promise<Uint8Array | null> {
  if (letter.value_blob !== null) return blobs.get(letter.value_blob)
  return letter.value_base64 === null ? null : Buffer.from(letter.value_base64, 'base64')
}

/** Whether a retry of this letter has been committed. */
export async function wasRetried(log: Log, found: FoundLetter): Promise<boolean> {
  return (await log.committed(groupOf(found))).length > 0
}

/** Where a retry is remembered: committed in one transaction with what it appends. */
const groupOf = ({ partition, offset }: FoundLetter) => `dlq-retry/${partition}/${offset}`

/**
 * Says what the dead letter held once more, as a new fact: another `ce_id`, its causes those of the first event and the
 * dead letter. Time and clock stay those of the first, so that deadlines mean what they meant. Once for each letter,
 * however often and from however many processes it is asked for.
 */
export async function retryDeadLetter(found: FoundLetter, { log, blobs, vocabulary }: RetryOptions): Promise<Retried> {
  const { letter } = found
  const read = await eventIn(found, { log, blobs, vocabulary })
  if ('reason' in read) return { outcome: 'refused', reason: read.reason }
  const { type, event } = read
  const dead_letter_id = sourceId(['dead_letter', letter.processor, event.id])
  const causes = [...new Set([...event.causes, dead_letter_id])].sort()
  const id = derivedId({
    processor: 'dlq-retry',
    variant: [],
    type: type.type,
    causes,
    discriminator: event.id,
    index: 0,
  })
  const { producer_version: _version, ...kept } = event
  const again = { ...kept, id, source: RETRY_SOURCE, causes } as Event
  const { key, headers, value, blobs: columns } = encodeEvent(type, again)
  for (const column of columns) await blobs.put(column.bytes, column.ref.media_type)

  const producer = await log.producer({ transactional_id: 'dlq-retry' })
  try {
    // After the producer is open, whoever else retries is fenced: nobody commits between this look and our commit.
    if (await wasRetried(log, found)) return { outcome: 'already', ce_id: id }
    const partitions = (await log.endOffsets(type.type)).length
    const transaction = producer.begin()
    transaction.append(type.type, partitionOf(key, partitions), { key, headers, value })
    const { partition, offset } = found
    transaction.standalonePositions(groupOf(found), [{ topic: DEAD_LETTERS_TOPIC, partition, next: offset + 1n }])
    await transaction.commit()
    return { outcome: 'appended', ce_id: id }
  } finally {
    await producer.close()
  }
}

async function eventIn(
  { letter, appended_ms }: FoundLetter,
  { log, blobs, vocabulary }: RetryOptions,
): Promise<{ type: EventType; event: Event } | { reason: string }> {
  const type = vocabulary.get(letter.topic)
  if (type === undefined) return { reason: `${letter.topic} is no event that this program knows` }
  if (type.routing !== 'key') {
    return { reason: `${letter.topic} lies in every partition; the next one of its kind does what this one did not` }
  }
  const { topic, partition, key, headers } = letter
  const value = await rawValue(letter, blobs)
  const record: LogRecord = { topic, partition, offset: BigInt(letter.offset), appended_ms, key, headers, value }
  try {
    return { type, event: await decodeRecord(record, vocabulary, (await log.endOffsets(topic)).length, blobs) }
  } catch (error) {
    if (!(error instanceof PoisonError)) throw error
    return { reason: `the record itself is wrong, and would be again: ${(error as PoisonError).message}` }
  }
}
