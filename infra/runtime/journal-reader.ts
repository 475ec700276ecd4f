import type { Log, LogRecord } from '../log/log.ts'
import { type JournalEntry, journalTopic } from './internal-topics.ts'
import { readJson, readRange } from './json-records.ts'

/** What was processed once is not in the log any more. */
export class CauseExpiredError extends Error {
  override readonly name = 'CauseExpiredError'
}

/** The records of one committed batch of a task, in the order in which they were processed. */
export interface JournalledBatch {
  readonly entry: JournalEntry
  readonly records: readonly LogRecord[]
}

/**
 * A task's inputs again, as they were interleaved. Records are counted from the first visible one of each partition;
 * offsets play no part, so this reads a copy of the log as well.
 *
 * @param until journal offset to stop before; its end when left out
 * @throws CauseExpiredError when inputs have been removed: which record was which cannot be told any more.
 */
export async function* readJournalled(
  log: Log,
  processor: string,
  partition: number,
  until?: bigint,
): AsyncGenerator<JournalledBatch> {
  const inputs = new Map<string, AsyncGenerator<LogRecord>>()
  for await (const record of readRange(log, journalTopic(processor), partition, 0n, until)) {
    const entry = readJson<JournalEntry>(record)
    const records: LogRecord[] = []
    for (const [index, count] of entry.runs) {
      const topic = entry.topics[index] as string
      let input = inputs.get(topic)
      if (input === undefined) {
        await expectWhole(log, processor, topic, partition)
        input = readRange(log, topic, partition, 0n)
        inputs.set(topic, input)
      }
      for (let taken = 0; taken < count; taken++) {
        const { value, done } = await input.next()
        if (done) {
          throw new CauseExpiredError(
            `${journalTopic(processor)} partition ${partition} offset ${record.offset} names ${count} records of ${topic}, but the log has only ${taken} more: cause expired`,
          )
        }
        records.push(value)
      }
    }
    yield { entry, records }
  }
}

/** @throws CauseExpiredError when some of what a journal counts has been removed: it counts from the first record. */
export async function expectWhole(log: Log, processor: string, topic: string, partition: number): Promise<void> {
  const beginning = (await log.beginningOffsets(topic))[partition] ?? 0n
  if (beginning === 0n) return
  throw new CauseExpiredError(
    `cause expired: retention removed ${topic} partition ${partition} below offset ${beginning}, and the journal of ${processor} counts from the first record`,
  )
}
