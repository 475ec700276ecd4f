import type { Event, EventType } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import { encodeEvent, PoisonError } from '../../../schemas/wire/codec.ts'
import { derivedId, sourceId } from '../../../schemas/wire/identity.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from '../../blobs/blobs.ts'
import { putAll } from '../../blobs/put-all.ts'
import type { Log, LogRecord, Position, Topic } from '../../log/port/log.ts'
import { decodeRecord } from '../execute/decode-record.ts'
import type { ForeignRecordError } from '../internal/foreign-record.ts'
import { deadLetterIn } from '../internal/internal-records.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from '../internal/internal-topics.ts'
import { entriesOf } from '../internal/read-entries.ts'
import { misplacedByTopic } from '../state/misplaced.ts'
import { ResumingProducer, RivalError } from '../work/resuming-producer.ts'
import { mergeRanges, wholeTopic } from './merge-ranges.ts'

/** A dead letter in the log. */
export interface FoundLetter {
  /** Its number on the command line. Computed from its place in the log, so it never changes. */
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

/**
 * Every dead letter, in the order in which they were appended.
 * @param onForeign called for a record that is no dead letter
 */
export async function* deadLetters(
  log: Log,
  onForeign: (error: ForeignRecordError) => void = () => {},
): AsyncGenerator<FoundLetter> {
  const exists = (await log.topics()).some(({ name }) => name === DEAD_LETTERS_TOPIC)
  if (!exists) return
  const ranges = await wholeTopic(log, DEAD_LETTERS_TOPIC)
  const records = mergeRanges(log, ranges, ({ appended_ms }) => appended_ms)
  for await (const { record, entry: letter } of entriesOf(log, records, ranges.length, deadLetterIn, onForeign)) {
    const { partition, offset, appended_ms } = record
    const number = Number(offset) * ranges.length + partition + 1
    yield { number, partition, offset, appended_ms, letter }
  }
}

/** The value of the record that the processor failed on. */
export async function rawValue(letter: DeadLetter, blobs: Blobs): Promise<Uint8Array | null> {
  if (letter.value_blob !== null) return blobs.get(letter.value_blob)
  return letter.value_base64 === null ? null : Buffer.from(letter.value_base64, 'base64')
}

/** Whether a retry of this letter has been committed. */
export async function wasRetried(log: Log, found: FoundLetter): Promise<boolean> {
  return isOfTopic(await log.committed(groupOf(found)), await log.topics())
}

/** In a recreated topic, a new letter may have the place of an earlier one that was retried. */
function isOfTopic(positions: readonly Position[], topics: readonly Topic[]): boolean {
  return positions.length > 0 && misplacedByTopic(topics, positions).length === 0
}

/** The id of a dead letter, as a cause of the event that a retry appends. */
export const letterId = (processor: string, ce_id: string) => sourceId(['dead_letter', processor, ce_id])

/** `ce_id` of the event that a retry appends. */
export const retryId = (type: string, causes: readonly string[], ce_id: string) =>
  derivedId({ processor: 'dlq-retry', variant: [], type, causes, discriminator: ce_id, index: 0 })

/** The group whose position marks a letter as retried. Committed in one transaction with the retry's event. */
const groupOf = ({ partition, offset }: FoundLetter) => `dlq-retry/${partition}/${offset}`

/**
 * Appends the event of a dead letter again, as a new fact: with a new `ce_id`, and as causes those of the original
 * event and the dead letter. Time and clock stay the same, so that deadlines keep their meaning. Happens once per
 * letter, however often and from however many processes this is called.
 */
export async function retryDeadLetter(found: FoundLetter, { log, blobs, vocabulary }: RetryOptions): Promise<Retried> {
  const { letter } = found
  const read = await eventIn(found, { log, blobs, vocabulary })
  if ('reason' in read) return { outcome: 'refused', reason: read.reason }
  const { type, event } = read
  const causes = [...new Set([...event.causes, letterId(letter.processor, event.id)])].sort()
  const id = retryId(type.type, causes, event.id)
  const { producer_version: _version, ...kept } = event
  const again = { ...kept, id, source: RETRY_SOURCE, causes } as Event
  const { key, headers, value, blobs: columns } = encodeEvent(type, again)
  await putAll(blobs, columns)

  const producer = await ResumingProducer.open(log, { transactional_id: 'dlq-retry', group: groupOf(found) })
  try {
    // The open producer has fenced other retrying processes: none can commit between this check and our commit.
    const topics = await log.topics()
    if (isOfTopic(producer.positions, topics)) return { outcome: 'already', ce_id: id }
    const topic_id = topics.find(({ name }) => name === DEAD_LETTERS_TOPIC)?.id ?? ''
    const partitions = (await log.endOffsets(type.type)).length
    const { partition, offset } = found
    await producer.commit(
      (transaction) => transaction.append(type.type, partitionOf(key, partitions), { key, headers, value }),
      [{ topic: DEAD_LETTERS_TOPIC, partition, next: offset + 1n, seen: { topic_id } }],
    )
    return { outcome: 'appended', ce_id: id }
  } catch (error) {
    // Another process has retried this letter concurrently.
    if (error instanceof RivalError) return { outcome: 'already', ce_id: id }
    throw error
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
    const { message, cause } = error as PoisonError
    // The store was reachable: an unreachable one gives no PoisonError.
    if (cause instanceof BlobMissingError || cause instanceof BlobCorruptError) {
      return { reason: `${message}; put the blob back and retry` }
    }
    return { reason: `the record itself is wrong, and would be again: ${message}` }
  }
}
