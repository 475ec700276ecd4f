import type { Log, LogRecord } from '../../log/port/log.ts'
import { ForeignRecordError } from './foreign-record.ts'
import type { Reading } from './internal-records.ts'
import { readRange } from './json-records.ts'
import { SkippedRecords } from './skipped-records.ts'

export interface FoundEntry<T> {
  readonly record: LogRecord
  readonly entry: T
}

/** Where to read, and how to treat a foreign record. */
export interface EntryRange {
  readonly from?: bigint
  /** Default: the partition's end when this is called. */
  readonly until?: bigint | undefined
  /** Called for a foreign record, which is then skipped. Default: throw, because results without it would be wrong. */
  readonly onForeign?: (error: ForeignRecordError) => void
}

/**
 * The entries of a partition of an internal topic, without those that an operator has told every reader to skip.
 *
 * @throws ForeignRecordError naming the foreign record and the command that makes readers skip it.
 */
export async function* readEntries<T>(
  log: Log,
  topic: string,
  partition: number,
  reading: Reading<T>,
  { from = 0n, until, onForeign }: EntryRange = {},
): AsyncGenerator<FoundEntry<T>> {
  const ends = await log.endOffsets(topic)
  const records = readRange(log, topic, partition, from, until ?? ends[partition] ?? 0n)
  yield* entriesOf(log, records, ends.length, reading, onForeign)
}

/** The same for records of an internal topic in any order. @param partitions the partition count of that topic */
export async function* entriesOf<T>(
  log: Log,
  records: AsyncIterable<LogRecord>,
  partitions: number,
  reading: Reading<T>,
  onForeign: EntryRange['onForeign'],
): AsyncGenerator<FoundEntry<T>> {
  let skipped: SkippedRecords | undefined
  for await (const record of records) {
    let entry: T
    try {
      entry = reading(record, partitions)
    } catch (error) {
      if (!(error instanceof ForeignRecordError)) throw error
      skipped ??= await SkippedRecords.read(log)
      if (skipped.has(record)) continue
      if (onForeign === undefined) throw error
      onForeign(error)
      continue
    }
    yield { record, entry }
  }
}
