import type { NewRecord, Position } from '../infra/log/port/log.ts'
import { type JournalEntry, journalTopic } from '../infra/runtime/internal/internal-topics.ts'
import { toJson } from '../infra/runtime/internal/json-records.ts'

/** Bugs that the simulation, the fault test and the chaos test all plant. */

/** A position that knows its offset alone, and not the topic that it belongs to. */
export const bare = (position: Position): Position => ({ ...position, seen: { topic_id: '' } })

/** A journal entry without the boundaries of the batches. */
export function withoutBatches(topic: string, record: NewRecord): NewRecord {
  if (!topic.startsWith(journalTopic(''))) return record
  const { taken, ...entry } = JSON.parse(Buffer.from(record.value ?? []).toString()) as JournalEntry
  return { ...record, value: toJson({ ...entry, taken: { dead: taken?.dead ?? [] } }) }
}
