import { sizeOf } from '../../infra/log/port/consumer.ts'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { readRange } from '../../infra/runtime/internal/json-records.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import type { NeededEvents } from './consumer-holds.ts'
import type { Hold } from './holds.ts'

/** What may be deleted of a partition. */
export interface OldRecords {
  readonly topic: string
  readonly partition: number
  /** The first offset that stays. */
  readonly before: bigint
  readonly records: number
  readonly bytes: number
  /** Why the next record stays, though it is old: the reasons of `Hold`. */
  readonly held_by: readonly string[]
}

/** Names the events that groups of consumers follow from, among the reasons. */
const CAUSE = 'a group that a consumer needs follows from them'

/** The records of a partition that were appended before a time and that nothing needs, from the beginning on. */
export async function oldRecords(
  log: Log,
  type: EventType,
  partition: number,
  { older_than_ms, holds, needed }: { older_than_ms: number; holds: readonly Hold[]; needed: NeededEvents },
): Promise<OldRecords> {
  const topic = type.type
  const isNeeded = (record: LogRecord) => needed.has(type, record)
  const holdersOf = ({ offset }: LogRecord) =>
    holds.filter(({ from }) => {
      const first = from.get(topic)?.[partition]
      return first !== undefined && first <= offset
    })
  let [records, bytes, before] = [0, 0, (await log.beginningOffsets(topic))[partition] ?? 0n]
  for await (const record of readRange(log, topic, partition, before)) {
    const is_young = record.appended_ms >= older_than_ms
    const held_by = is_young ? [] : holdersOf(record).map(({ why }) => why)
    if (!is_young && isNeeded(record)) held_by.push(CAUSE)
    if (is_young || held_by.length > 0) return { topic, partition, before, records, bytes, held_by }
    records++
    bytes += sizeOf(record)
    before = record.offset + 1n
  }
  return { topic, partition, before, records, bytes, held_by: [] }
}
