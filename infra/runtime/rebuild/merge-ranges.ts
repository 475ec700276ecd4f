import type { Log, LogRecord } from '../../log/port/log.ts'

/** Records of one partition with offsets in [`from`, `to`). */
export interface Range {
  readonly topic: string
  readonly partition: number
  readonly from: bigint
  readonly to: bigint
}

const CHUNK_BYTES = 256 * 1024

/**
 * Merges the records of several partitions: next is always the record with the lowest `rank` among the heads of all
 * ranges. Within a partition the order is the log's. On ties the range that was named first wins.
 * Memory is bounded by a chunk for each range.
 */
export async function* mergeRanges(
  log: Log,
  ranges: readonly Range[],
  rank: (record: LogRecord) => number,
): AsyncGenerator<LogRecord> {
  const open: Cursor[] = []
  for (const range of ranges) {
    const cursor = new Cursor(log, range, rank)
    if (await cursor.advance()) open.push(cursor)
  }
  while (open.length > 0) {
    let first = 0
    for (let at = 1; at < open.length; at++) if ((open[at] as Cursor).rank < (open[first] as Cursor).rank) first = at
    const cursor = open[first] as Cursor
    yield cursor.head as LogRecord
    if (!cursor.step() && !(await cursor.advance())) open.splice(first, 1)
  }
}

class Cursor {
  readonly #log: Log
  readonly #range: Range
  readonly #rank: (record: LogRecord) => number
  #next: bigint
  #chunk: readonly LogRecord[] = []
  #at = 0
  head: LogRecord | undefined
  rank = 0

  constructor(log: Log, range: Range, rank: (record: LogRecord) => number) {
    this.#log = log
    this.#range = range
    this.#rank = rank
    this.#next = range.from
  }

  /** Moves to the next record in memory; false when there is none. */
  step(): boolean {
    const record = this.#chunk[this.#at]
    if (record === undefined || record.offset >= this.#range.to) return false
    this.#at++
    this.head = record
    this.rank = this.#rank(record)
    return true
  }

  /** Reads a chunk and moves to its first record; false at the end of the range. */
  async advance(): Promise<boolean> {
    const { topic, partition, to } = this.#range
    while (this.#next < to) {
      const { records, next } = await this.#log.read({ topic, partition, from: this.#next, max_bytes: CHUNK_BYTES })
      this.#chunk = records
      this.#at = 0
      const stuck = next <= this.#next
      this.#next = next
      if (this.step()) return true
      if (stuck) return false
    }
    return false
  }
}

/** Every partition of a topic, from its beginning to its current end. */
export async function wholeTopic(log: Log, topic: string): Promise<Range[]> {
  const ends = await log.endOffsets(topic)
  const begins = await log.beginningOffsets(topic)
  return ends.map((to, partition) => ({ topic, partition, from: begins[partition] ?? 0n, to }))
}
