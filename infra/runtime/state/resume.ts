import type { Log, LogRecord, Position } from '../../log/port/log.ts'
import { digestOf, lastRead } from '../../log/port/seen.ts'
import { journalEntryIn } from '../internal/internal-records.ts'
import { journalTopic } from '../internal/internal-topics.ts'
import { expectWhole } from '../internal/journal-reader.ts'
import { readRange } from '../internal/json-records.ts'
import { readEntries } from '../internal/read-entries.ts'
import { CLOCKS_DIFFER_MS } from './adopt-positions.ts'
import type { Misplaced } from './misplaced.ts'

/** What a journal records about one topic. */
interface Counted {
  readonly count: number
  /** Record digests in the journal, by the count up to and with that record. Earlier releases wrote none. */
  readonly named: Map<number, string>
  /** When the entry that counts the last record was appended. */
  readonly noted_ms: number
}

/**
 * Where a task resumes in topics that its journal counts but its group has no position in: in a copy of another log,
 * after positions have expired, or after a broker dropped them with a deleted topic. The journal counts records, so it
 * is valid in a copy too, but not in a recreated topic.
 *
 * @param topics those without a position
 * @returns the positions; in `misplaced`, those whose records are not the ones that the journal counts
 * @throws CauseExpiredError when retention has removed some of what the journal counts.
 */
export async function positionsFromJournal(
  log: Log,
  processor: string,
  partition: number,
  topics: readonly string[],
): Promise<{ readonly positions: readonly Position[]; readonly misplaced: readonly Misplaced[] }> {
  if (topics.length === 0) return { positions: [], misplaced: [] }
  const counts = await countsOf(log, processor, partition)
  const ids = new Map((await log.topics()).map(({ name, id }) => [name, id]))
  const positions: Position[] = []
  const misplaced: Misplaced[] = []
  for (const topic of topics) {
    const counted = counts.get(topic)
    if (counted === undefined) continue
    await expectWhole(log, processor, topic, partition)
    const { last, why } = await follow(log, topic, partition, counted)
    const next = (last?.offset ?? -1n) + 1n
    const topic_id = ids.get(topic) ?? ''
    const position = { topic, partition, next, seen: { topic_id, ...(last && { last: lastRead(last) }) } }
    if (why === undefined) positions.push(position)
    else misplaced.push({ position, why })
  }
  return { positions, misplaced }
}

async function countsOf(log: Log, processor: string, partition: number): Promise<Map<string, Counted>> {
  const counts = new Map<string, Counted>()
  for await (const { record, entry } of readEntries(log, journalTopic(processor), partition, journalEntryIn)) {
    const { topics, runs, last, reset } = entry
    if (reset !== undefined) counts.clear()
    for (const [index, count] of runs) {
      const topic = topics[index] as string
      const before = counts.get(topic)
      counts.set(topic, {
        count: (before?.count ?? 0) + count,
        named: before?.named ?? new Map(),
        noted_ms: record.appended_ms,
      })
    }
    // The entry's digest of each topic is that of the last record in the topic's last run.
    for (const [index, topic] of topics.entries()) {
      const counted = counts.get(topic)
      const digest = last?.[index]
      if (counted !== undefined && digest !== undefined) counted.named.set(counted.count, digest)
    }
  }
  return counts
}

/** Reads as many records as the journal counts. @returns the last one and, if they are other records, why */
async function follow(
  log: Log,
  topic: string,
  partition: number,
  { count, named, noted_ms }: Counted,
): Promise<{ readonly last: LogRecord | undefined; readonly why: string | undefined }> {
  let seen = 0
  let last: LogRecord | undefined
  for await (const record of readRange(log, topic, partition, 0n)) {
    last = record
    const digest = named.get(++seen)
    if (digest !== undefined && digest !== digestOf(record)) {
      return {
        last,
        why: `record ${seen} is not the one that the journal counts: the topic was deleted and made again`,
      }
    }
    if (seen === count) break
  }
  if (seen < count || last === undefined) {
    const why = `the journal counts ${count} records, the log holds ${seen}: the copy is not whole, or the topic was made again`
    return { last, why }
  }
  if (named.has(count) || last.appended_ms - noted_ms <= CLOCKS_DIFFER_MS) return { last, why: undefined }
  return {
    last,
    why: `record ${count} is younger than the entry of the journal that counts it: the topic was deleted and made again`,
  }
}
