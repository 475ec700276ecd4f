import type { Log, LogRecord } from '../log/log.ts'
import { type JournalEntry, journalTopic } from './internal-topics.ts'
import { readJson, readRange } from './json-records.ts'

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
 * @throws Error when the journal names more records than the log has: inputs have been removed.
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
        input = readRange(log, topic, partition, 0n)
        inputs.set(topic, input)
      }
      for (let taken = 0; taken < count; taken++) {
        const { value, done } = await input.next()
        if (done) {
          throw new Error(
            `${journalTopic(processor)} partition ${partition} offset ${record.offset} names ${count} records of ${topic}, but the log has only ${taken} more; cause expired`,
          )
        }
        records.push(value)
      }
    }
    yield { entry, records }
  }
}
