import type { EventType } from '../../../schemas/declare/event.ts'
import { sizeOfAll } from '../../log/port/consumer.ts'
import { lastRecord, SCAN_BYTES } from '../../log/port/last-record.ts'
import type { Log, LogRecord, Position } from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'
import { headerOf } from '../internal/json-records.ts'
import { publicTopics } from '../state/topics.ts'

/** The lag of a reader in one partition of one topic. */
export interface TopicLag {
  readonly topic: string
  readonly partition: number
  readonly next: bigint
  readonly end: bigint
  /** An upper bound: transaction markers and gaps count as records. */
  readonly messages: bigint
  /** Size of keys, headers and values, of as many records as fit into `SCAN_BYTES`. */
  readonly bytes: number
  /** False when the lag is larger than `bytes`. */
  readonly bytes_complete: boolean
  /** Event time from the first unread record to the newest one. Null if their clocks differ or a time is missing. */
  readonly behind_ms: number | null
}

/** The lag of a reader with these positions, per topic and partition. A partition without one starts at its beginning. */
export async function lagByPartition(
  log: Log,
  topics: readonly string[],
  positions: readonly Position[],
): Promise<TopicLag[]> {
  const read = new Map(positions.map((at) => [partitionName(at), at.next]))
  const lags: TopicLag[] = []
  for (const topic of topics) {
    const [ends, begins] = await Promise.all([log.endOffsets(topic), log.beginningOffsets(topic)])
    for (const [partition, end] of ends.entries()) {
      const begin = begins[partition] ?? 0n
      const next = read.get(partitionName({ topic, partition })) ?? begin
      const messages = end > next ? end - next : 0n
      const place = { topic, partition, next, end, messages }
      if (messages === 0n) lags.push({ ...place, bytes: 0, bytes_complete: true, behind_ms: 0 })
      else lags.push({ ...place, ...(await weigh(log, { topic, partition, next: next > begin ? next : begin }, end)) })
    }
  }
  return lags
}

async function weigh(log: Log, { topic, partition, next: from }: Position, end: bigint) {
  const { records, next } = await log.read({ topic, partition, from, max_bytes: SCAN_BYTES })
  const unread = records.filter((record) => record.offset < end)
  const bytes = sizeOfAll(unread)
  const newest = next >= end ? unread.at(-1) : await lastRecord(log, topic, partition, end)
  return { bytes, bytes_complete: next >= end, behind_ms: timeBetween(unread[0], newest) }
}

function timeBetween(first: LogRecord | undefined, last: LogRecord | undefined): number | null {
  if (first === undefined || last === undefined) return null
  if (headerOf(first, 'ce_clock') !== headerOf(last, 'ce_clock')) return null
  const ms = Date.parse(headerOf(last, 'ce_time') ?? '') - Date.parse(headerOf(first, 'ce_time') ?? '')
  return Number.isFinite(ms) ? Math.max(0, ms) : null
}

/** Adds up several lags; `behind_ms` is the longest. */
export function sumOf(lags: readonly TopicLag[]): Omit<TopicLag, 'topic' | 'partition' | 'next' | 'end'> {
  const known = lags.map((lag) => lag.behind_ms).filter((ms) => ms !== null)
  return {
    messages: lags.reduce((sum, lag) => sum + lag.messages, 0n),
    bytes: lags.reduce((sum, lag) => sum + lag.bytes, 0),
    bytes_complete: lags.every((lag) => lag.bytes_complete),
    behind_ms: known.length === 0 ? null : Math.max(...known),
  }
}

/** Every public topic's ends, as one offset vector; see `--as-of`. */
export async function endsOf(log: Log, events: readonly EventType[]): Promise<Record<string, number[]>> {
  const ends: Record<string, number[]> = {}
  for (const topic of await publicTopics(log, events)) ends[topic] = (await log.endOffsets(topic)).map(Number)
  return ends
}
