import { inputTopics, type Processor } from '../../../processors/processor.ts'
import type { Log, Position, Transaction } from '../../log/port/log.ts'
import { changelogTopic, type JournalEntry, journalTopic, SNAPSHOTS_TOPIC } from '../internal/internal-topics.ts'
import { readRange, toJson } from '../internal/json-records.ts'
import { noSnapshot } from './state-store.ts'
import { TaskTopics } from './task-topics.ts'

export interface Reset {
  /** Positions that were reset. */
  readonly positions: number
  /** Keys whose state was dropped. */
  readonly keys: number
}

/**
 * Resets a processor to the beginning of its inputs: its positions, its journal and its state. An effect
 * keeps its state, which records the answered requests. Emitted events stay in the log: equal inputs give equal events,
 * which count once, and `verify` leaves out events before the reset.
 *
 * Commits one transaction, then removes the journal's earlier entries. If cut off in between, it must be run again.
 *
 * @throws Error when a worker of the processor runs.
 */
export async function resetProcessor(log: Log, processor: Processor): Promise<Reset> {
  const { name, version, variant } = processor
  const topics = new TaskTopics(name, await log.topics())
  const journal = journalTopic(name)
  const journal_ends = await log.endOffsets(journal)
  const producer = await log.producer({ transactional_id: `${name}/reset` })
  try {
    const transaction = producer.begin()
    const outputs: Record<string, string[]> = {}
    for (const { type } of processor.outputs) outputs[type] = (await log.endOffsets(type)).map(String)
    const entry: JournalEntry = { version, variant, topics: [], runs: [], reset: { outputs } }
    let keys = 0
    for (const [partition] of journal_ends.entries()) {
      if (processor.shape !== 'effect') keys += await dropState(log, changelogTopic(name), partition, transaction)
      // Earlier snapshots name offsets of a changelog that may have been replaced since.
      transaction.append(SNAPSHOTS_TOPIC, partition, noSnapshot(name, partition))
      transaction.append(journal, partition, { key: null, headers: [], value: toJson(entry) })
    }
    const positions: Position[] = []
    for (const topic of await topicsRead(log, processor)) {
      for (const [partition, next] of (await log.beginningOffsets(topic)).entries()) {
        positions.push(topics.bind({ topic, partition, next }))
      }
    }
    transaction.standalonePositions(name, positions)
    await transaction.commit()
    for (const [partition, end] of journal_ends.entries()) await log.deleteBefore(journal, partition, end)
    return { positions: positions.length, keys }
  } finally {
    await producer.close()
  }
}

/** The processor's inputs, and topics that only another of its variants reads. */
async function topicsRead(log: Log, processor: Processor): Promise<readonly string[]> {
  const exist = new Set((await log.topics()).map(({ name }) => name))
  const committed = (await log.committed(processor.name)).map(({ topic }) => topic)
  return [...new Set([...inputTopics(processor), ...committed])].filter((topic) => exist.has(topic))
}

/** Deletes the state of every key. @returns how many keys had a state */
async function dropState(log: Log, topic: string, partition: number, transaction: Transaction): Promise<number> {
  const keys = new Set<string>()
  for await (const { key, value } of readRange(log, topic, partition, 0n)) {
    if (key === null) continue
    if (value === null) keys.delete(key)
    else keys.add(key)
  }
  for (const key of keys) transaction.append(topic, partition, { key, headers: [], value: null })
  return keys.size
}
