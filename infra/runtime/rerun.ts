import type { Processor } from '../../processors/processor.ts'
import { clockTicked } from '../../schemas/clock.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Event } from '../../schemas/event.ts'
import type { Partitions } from '../../schemas/partitions.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log, LogRecord } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import type { Executed, Execution } from './execution.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from './internal-topics.ts'
import { readJournalled } from './journal-reader.ts'
import { headerOf, readJson, readRange } from './json-records.ts'

export interface RerunOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: Partitions
}

/**
 * Runs a task again over everything that it has committed, in journal order, each batch in the variant that took it
 * then. Dead letters of then are left out. What comes is what each batch gave; the state is in `execution`.
 *
 * @throws UnreadableNowError when an input that was taken then cannot be read any more.
 */
export async function* rerun(
  execution: Execution,
  name: string,
  partition: number,
  create: (variant: readonly string[]) => Processor,
  { log, blobs, vocabulary, partitions }: RerunOptions,
  until?: bigint,
): AsyncGenerator<Executed> {
  const dead = await deadLettersOf(log, name, partition)
  let variant: string | undefined
  for await (const { entry, records } of readJournalled(log, name, partition, until)) {
    const journalled = JSON.stringify(entry.variant)
    const processor = journalled === variant ? undefined : create(entry.variant)
    // What an effect recorded then are facts: nothing of it is computed again.
    if (processor?.produces === 'facts') continue
    if (processor !== undefined) execution.become(processor)
    variant = journalled
    const events: Event[] = []
    for (const record of records) {
      if (dead.has(`${record.topic} ${headerOf(record, 'ce_id')}`)) continue
      const event = await decodeRecord(record, vocabulary, partitions, blobs).catch((error: unknown) => {
        // Without an id its dead letter has none either: it was as unreadable then.
        if (error instanceof PoisonError && headerOf(record, 'ce_id') === undefined) return undefined
        throw error instanceof PoisonError ? new UnreadableNowError(record, error) : error
      })
      if (event !== undefined) events.push(event)
    }
    const executed = await execution.process(events)
    execution.takeChanges()
    yield executed
  }
}

/** An input was processed once and cannot be decoded now: its blob is gone, or its bytes have changed. */
export class UnreadableNowError extends Error {
  override readonly name = 'UnreadableNowError'

  constructor({ topic, partition, offset }: LogRecord, cause: Error) {
    super(
      `${topic} partition ${partition} offset ${offset} was processed once and cannot be read now: ${cause.message}`,
    )
  }
}

/** What the processor did not take then, by topic and id. A tick is not listed: it failed for one key and expired the others. */
async function deadLettersOf(log: Log, processor: string, partition: number): Promise<Set<string>> {
  const dead = new Set<string>()
  for await (const record of readRange(log, DEAD_LETTERS_TOPIC, partition, 0n)) {
    const letter = readJson<DeadLetter>(record)
    if (letter.processor !== processor || letter.ce_id === null || letter.topic === clockTicked.type) continue
    dead.add(`${letter.topic} ${letter.ce_id}`)
  }
  return dead
}
