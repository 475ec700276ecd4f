import { type Log, type LogRecord, OffsetGoneError, type Position, type ReadResult } from '../infra/log/port/log.ts'
import { partitionName } from '../infra/log/port/partition-name.ts'
import type { Ends, ReadPositions } from './read-positions.ts'
import type { SinkBatch } from './sink-batch.ts'

export interface InOrder<B extends SinkBatch> {
  readonly log: Log
  readonly positions: ReadPositions
  readonly batch_bytes: number
  /** Whether the batch must be committed before more is read. */
  readonly isFull: (batch: B) => boolean
}

/** Adds a record to a batch. @throws Error when the reason is not the record itself: its position stays */
export type Take<B> = (record: LogRecord, batch: B) => unknown

/** Up to this lag, first pages are read together; with more, the sink is catching up. */
const FEW_RECORDS = 4_096n

/**
 * Reads topic by topic, causes before effects, until the batch is full or nothing is left below `ends`.
 * @returns whether nothing is left
 */
export async function readInOrder<B extends SinkBatch>(
  reading: InOrder<B>,
  batch: B,
  ends: Ends,
  take: Take<B>,
): Promise<boolean> {
  const { positions, isFull } = reading
  const pages = await firstPages(reading, ends)
  for (const [topic, partitionEnds] of ends) {
    for (const [partition, end] of partitionEnds.entries()) {
      for (;;) {
        const from = batch.positionOf(topic, partition) ?? positions.of(topic, partition)
        if (from.next > end) await positions.beyondEnd(from)
        if (from.next >= end) break
        if (isFull(batch)) return false
        const to = await readOn(reading, batch, from, end, take, pages)
        if (to.next === from.next) break
        batch.moveTo(to)
      }
    }
  }
  return true
}

/**
 * Reads the first page of every partition with a lag, all at once: over a network each request takes its time, and
 * near the end of the log there are as many as partitions. With a backlog this gains nothing.
 */
async function firstPages<B extends SinkBatch>(
  { log, positions, batch_bytes }: InOrder<B>,
  ends: Ends,
): Promise<Map<string, ReadResult>> {
  const wanted: Position[] = []
  let pending = 0n
  for (const [topic, partitionEnds] of ends) {
    for (const [partition, end] of partitionEnds.entries()) {
      const from = positions.of(topic, partition)
      if (from.next >= end) continue
      pending += end - from.next
      wanted.push(from)
    }
  }
  const pages = new Map<string, ReadResult>()
  if (pending > FEW_RECORDS) return pages
  const max_bytes = Math.floor(batch_bytes / Math.max(1, wanted.length))
  await Promise.all(
    wanted.map(async ({ topic, partition, next: from }) => {
      // A failed read is repeated on its own later, and throws there.
      const page = await log.read({ topic, partition, from, max_bytes }).catch(() => undefined)
      if (page !== undefined) pages.set(partitionName({ topic, partition }), page)
    }),
  )
  return pages
}

async function readOn<B extends SinkBatch>(
  { log, positions, batch_bytes }: InOrder<B>,
  batch: B,
  before: Position,
  end: bigint,
  take: Take<B>,
  pages: Map<string, ReadResult>,
): Promise<Position> {
  const { topic, partition, next: from } = before
  const place = partitionName({ topic, partition })
  const page = pages.get(place)
  pages.delete(place)
  try {
    const { records, next } = page ?? (await log.read({ topic, partition, from, max_bytes: batch_bytes - batch.bytes }))
    let last: LogRecord | undefined
    for (const record of records) {
      if (record.offset >= end) break
      last = record
      await take(record, batch)
      batch.records += 1
      batch.bytes += (record.value?.length ?? 0) + (record.key?.length ?? 0)
    }
    return positions.after(before, next < end ? next : end, last)
  } catch (cause) {
    if (!(cause instanceof OffsetGoneError)) throw cause
    const first = (await log.beginningOffsets(topic))[partition] ?? end
    if (first <= from) throw cause
    const error = `retention removed offsets ${from} … ${first - 1n} before they were loaded`
    batch.addUnreadable(topic, partition, from, null, error)
    return positions.after(before, first < end ? first : end, undefined)
  }
}
