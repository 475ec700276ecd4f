import type { Processor } from '../../processors/processor.ts'
import { clockTicked } from '../../schemas/clock.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Event } from '../../schemas/event.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import type { Output } from './emission.ts'
import type { Execution } from './execution.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from './internal-topics.ts'
import { readJournalled } from './journal-reader.ts'
import { headerOf, readJson, readRange } from './json-records.ts'

export interface RerunOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: number
}

/**
 * Runs a task again over everything that it has committed, in journal order, each batch in the variant that took it
 * then. Dead letters of then are left out. What comes is each batch's outputs; the state is in `execution`.
 */
export async function* rerun(
  execution: Execution,
  name: string,
  partition: number,
  create: (variant: readonly string[]) => Processor,
  { log, blobs, vocabulary, partitions }: RerunOptions,
  until?: bigint,
): AsyncGenerator<readonly Output[]> {
  const dead = await deadLettersOf(log, name, partition)
  let variant: string | undefined
  for await (const { entry, records } of readJournalled(log, name, partition, until)) {
    const journalled = JSON.stringify(entry.variant)
    if (journalled !== variant) execution.become(create(entry.variant))
    variant = journalled
    const events: Event[] = []
    for (const record of records) {
      if (dead.has(`${record.topic} ${headerOf(record, 'ce_id')}`)) continue
      const event = await decodeRecord(record, vocabulary, partitions, blobs).catch((error: unknown) => {
        if (error instanceof PoisonError) return undefined
        throw error
      })
      if (event !== undefined) events.push(event)
    }
    const { outputs } = await execution.process(events)
    execution.takeChanges()
    yield outputs
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
