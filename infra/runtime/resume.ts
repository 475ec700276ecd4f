import type { Log, Position } from '../log/log.ts'
import { type JournalEntry, journalTopic } from './internal-topics.ts'
import { expectWhole } from './journal-reader.ts'
import { readJson, readRange } from './json-records.ts'

/**
 * Where a task goes on in a log that has its journal but no positions of its group: a copy of another log, or one whose
 * positions have expired. The journal counts records, so it is as true there as where it was written.
 *
 * @returns nothing when the group has positions in this partition or has never committed anything
 * @throws CauseExpiredError when retention has removed some of what the journal counts.
 * @throws Error when the journal counts more records than the log holds.
 */
export async function positionsFromJournal(log: Log, processor: string, partition: number): Promise<Position[]> {
  const committed = await log.committed(processor)
  if (committed.some((position) => position.partition === partition)) return []
  const read = new Map<string, number>()
  for await (const record of readRange(log, journalTopic(processor), partition, 0n)) {
    const { topics, runs } = readJson<JournalEntry>(record)
    for (const [index, count] of runs) {
      const topic = topics[index] as string
      read.set(topic, (read.get(topic) ?? 0) + count)
    }
  }
  const positions: Position[] = []
  for (const [topic, count] of read) {
    positions.push({ topic, partition, next: await offsetAfter(log, processor, { topic, partition }, count) })
  }
  return positions
}

async function offsetAfter(
  log: Log,
  processor: string,
  { topic, partition }: Omit<Position, 'next'>,
  count: number,
): Promise<bigint> {
  await expectWhole(log, processor, topic, partition)
  let seen = 0
  for await (const { offset } of readRange(log, topic, partition, 0n)) if (++seen === count) return offset + 1n
  throw new Error(
    `${journalTopic(processor)} counts ${count} records of ${topic} partition ${partition}, the log holds ${seen}; the copy is not whole`,
  )
}
