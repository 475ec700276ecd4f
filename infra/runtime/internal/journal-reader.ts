import { resetRemedy } from '../../log/port/failure.ts'
import { type Log, type LogRecord, RecordDamagedError, TopicReplacedError } from '../../log/port/log.ts'
import { digestOf } from '../../log/port/seen.ts'
import { journalEntryIn } from './internal-records.ts'
import { type JournalEntry, journalTopic } from './internal-topics.ts'
import { readRange } from './json-records.ts'
import { readEntries } from './read-entries.ts'

/** Records that were processed once are no longer in the log. */
export class CauseExpiredError extends Error {
  override readonly name = 'CauseExpiredError'
  readonly retry = 'never'
}

/** The records of one committed batch of a task, in the order in which they were processed. */
export interface JournalledBatch {
  readonly entry: JournalEntry
  readonly records: readonly LogRecord[]
}

/**
 * Reads a task's inputs again, interleaved as they were processed. Records are counted from the first visible one of
 * each partition and offsets are not used, so this also reads a copy of the log.
 *
 * @param until journal offset to stop before (default: its end)
 * @throws CauseExpiredError when inputs have been removed, so that the counts no longer identify records.
 */
export async function* readJournalled(
  log: Log,
  processor: string,
  partition: number,
  until?: bigint,
): AsyncGenerator<JournalledBatch> {
  const inputs = new Map<string, AsyncGenerator<LogRecord>>()
  let first = true
  for await (const found of readEntries(log, journalTopic(processor), partition, journalEntryIn, { until })) {
    const { record, entry } = found
    if (entry.reset !== undefined) {
      if (!first) throw unfinishedReset(processor, record)
      continue
    }
    first = false
    const records: LogRecord[] = []
    const last = new Map<number, LogRecord>()
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
        last.set(index, value)
      }
    }
    expectSame(entry, record, last, processor)
    yield { entry, records }
  }
}

/** A reset ends by removing the entries before it, so earlier entries show that it was cut off. */
function unfinishedReset(processor: string, { topic, partition, offset }: LogRecord): TopicReplacedError {
  return new TopicReplacedError(
    `${topic} partition ${partition} offset ${offset}: the positions of ${processor} were reset, and that was cut off ` +
      `before its end. To complete it: ./plumbline positions reset --only ${processor}`,
  )
}

/** Where the outputs of a processor ended when its positions were last reset, by topic and partition. */
export async function resetEnds(log: Log, processor: string): Promise<ReadonlyMap<string, readonly bigint[]>> {
  const topic = journalTopic(processor)
  const ends = new Map<string, readonly bigint[]>()
  for (const partition of (await log.beginningOffsets(topic)).keys()) {
    const first = await firstEntry(log, topic, partition)
    for (const [output, at] of Object.entries(first?.reset?.outputs ?? {})) {
      const known = ends.get(output) ?? []
      const later = (text: string, at: number) => (BigInt(text) > (known[at] ?? 0n) ? BigInt(text) : (known[at] ?? 0n))
      ends.set(output, at.map(later))
    }
  }
  return ends
}

/** Unreadable records are ignored here; readers of the whole journal report them. */
async function firstEntry(log: Log, topic: string, partition: number): Promise<JournalEntry | undefined> {
  try {
    for await (const { entry } of readEntries(log, topic, partition, journalEntryIn, { onForeign: () => {} })) {
      return entry
    }
  } catch (error) {
    if (!(error instanceof RecordDamagedError)) throw error
  }
  return undefined
}

/** @throws TopicReplacedError when a record is not the one that the journal counted. */
function expectSame(
  { topics, last: digests }: JournalEntry,
  { topic: journal, partition, offset }: LogRecord,
  last: ReadonlyMap<number, LogRecord>,
  processor: string,
): void {
  for (const [index, record] of last) {
    const digest = digests?.[index]
    if (digest === undefined || digest === digestOf(record)) continue
    throw new TopicReplacedError(
      `${journal} partition ${partition} offset ${offset}: ${processor} read another record of ${topics[index]} than ` +
        `lies at offset ${record.offset} now: the topic was deleted and made again, or the log was put together of ` +
        `several. What was computed of the former records cannot be computed again here. ${resetRemedy(processor)}`,
    )
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
