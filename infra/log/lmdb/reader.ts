import { setTimeout as sleep } from 'node:timers/promises'
import { type GroupRead, sizeOfAll } from '../port/consumer.ts'
import {
  isReplaced,
  offsetGone,
  recordDamaged,
  topicReplaced,
  unknownPartition,
  unknownTopic,
} from '../port/failure.ts'
import {
  type Damage,
  LogBusyError,
  type LogRecord,
  type Position,
  type ReadRequest,
  type ReadResult,
  type Topic,
  UnknownTopicError,
} from '../port/log.ts'
import { chunkCount } from './chunk.ts'
import { chunkAt, nextChunk, readOn, type StoredChunk, type Unreadable } from './chunk-table.ts'
import type { Budget } from './read-chunk.ts'
import { ReadSpace } from './read-space.ts'
import {
  closeTables,
  logId,
  lostRanges,
  type PositionRow,
  positionAt,
  type Tables,
  type TopicRow,
  topicId,
  topicRow,
  topicRows,
} from './tables.ts'

/**
 * The log's reads, on the event loop: a read is a few page look-ups in memory, and never waits for a writer. All reads
 * between two calls of `refresh` see the same snapshot.
 */
export class Reader {
  readonly tables: Tables
  readonly #address: string
  readonly #unlocked: boolean
  readonly #nudges = new Set<() => void>()
  #log_id = ''
  #last: StoredChunk | undefined
  #closed = false

  /** @param unlocked this process cannot write LMDB's table of readers, see `steadily` */
  constructor(tables: Tables, address: string, { unlocked = false }: { readonly unlocked?: boolean } = {}) {
    this.tables = tables
    this.#address = address
    this.#unlocked = unlocked
  }

  /**
   * Runs `look`. If this process cannot write LMDB's table of readers, repeats it until no commit happened meanwhile:
   * writers cannot see such a reader, and from the second commit on they reuse the pages that it reads.
   *
   * @throws LogBusyError when a commit happened during every attempt
   */
  steadily<T>(look: () => T): T {
    if (!this.#unlocked) return look()
    for (let i = 0; i < MOST_LOOKS; i += 1) {
      this.refresh()
      const before = this.#lastTransaction()
      let end: () => T
      try {
        const found = look()
        end = () => found
      } catch (error) {
        end = () => {
          throw error
        }
      }
      if (this.#lastTransaction() === before) return end()
      this.#last = undefined
    }
    throw new LogBusyError(
      `${this.#address}: expected a moment without a commit, found none in ${MOST_LOOKS} looks. This user may not write ` +
        'the folder, so writers do not wait for it: retry when less is written.',
    )
  }

  /** The log's id is looked up until it exists, then cached: it never changes. */
  topicId(row: TopicRow): string {
    if (this.#log_id === '') this.#log_id = logId(this.tables)
    return topicId(this.#log_id, row)
  }

  /** Moves to a snapshot of everything committed so far. */
  refresh(): void {
    this.tables.env.resetReadTxn()
  }

  topics(names?: readonly string[]): Topic[] {
    const found: Topic[] = []
    if (names !== undefined) {
      for (const name of new Set(names)) {
        const row = topicRow(this.tables, name)
        if (row !== undefined) found.push({ name, partitions: row.ends.length, id: this.topicId(row) })
      }
      return found.sort((a, b) => (a.name < b.name ? -1 : 1))
    }
    for (const { name, row } of topicRows(this.tables)) {
      found.push({ name, partitions: row.ends.length, id: this.topicId(row) })
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  topic(name: string): TopicRow {
    const row = topicRow(this.tables, name)
    if (row === undefined) throw new UnknownTopicError(unknownTopic(this.#address, name))
    return row
  }

  expectPartition(topic: string, partition: number): TopicRow {
    const row = this.topic(topic)
    if (row.ends[partition] === undefined) {
      throw new UnknownTopicError(unknownPartition(this.#address, topic, partition, row.ends.length))
    }
    return row
  }

  /** Reads for a group, and only from the topic with the id in the request, not from a recreated one. */
  readFor(group: string, request: GroupRead, at_least_one: boolean): ReadResult {
    return this.read(request, at_least_one, (row) => {
      const replaced = { topic: request.topic, was: request.topic_id, is: this.topicId(row) }
      if (isReplaced(replaced)) throw topicReplaced(this.#address, group, replaced)
    })
  }

  read(request: ReadRequest, at_least_one: boolean, check?: (row: TopicRow) => void): ReadResult {
    const { topic, partition, from: start, max_bytes } = request
    const row = this.expectPartition(topic, partition)
    check?.(row)
    const begin = row.begins[partition] as number
    const end = row.ends[partition] as number
    if (start < BigInt(begin)) {
      throw offsetGone(this.#address, { topic, partition, from: start, beginning: BigInt(begin) })
    }
    const records: LogRecord[] = []
    const budget: Budget = { bytes: max_bytes, at_least_one }
    const space = new ReadSpace()
    let from = Number(start)
    while (from < end && (budget.bytes > 0 || budget.at_least_one)) {
      const chunk = this.#left(row.id, partition, from) ?? chunkAt(this.tables, row.id, partition, from, space)
      const reached = readOn(chunk, { topic, partition }, from, budget, records)
      this.#last = chunk
      if (reached === from) break
      if (typeof reached === 'number') {
        from = reached
        continue
      }
      const lost_until = this.#lostUntil(topic, partition, from)
      if (lost_until !== undefined) from = lost_until
      else if (records.length > 0) break
      else throw recordDamaged(this.#address, this.damageAt(row, { topic, partition, from }, reached))
    }
    return { records, bytes: sizeOfAll(records), next: start > BigInt(from) ? start : BigInt(from) }
  }

  /** The chunk in which the last read ended, already checked: most reads end inside a chunk and continue there. */
  #left(topic_id: number, partition: number, offset: number): StoredChunk | undefined {
    const last = this.#last
    if (last === undefined || last.topic_id !== topic_id || last.partition !== partition) return undefined
    const inside = last.soundness !== 'damaged' && offset > last.first && offset < last.first + chunkCount(last.bytes)
    return inside ? last : undefined
  }

  /** The damage ends where the next chunk begins, because the record count of a damaged chunk cannot be trusted. */
  damageAt(row: TopicRow, { topic, partition, from }: Place, { problem }: Unreadable): Damage {
    const to = nextChunk(this.tables, row.id, partition, from) ?? (row.ends[partition] as number)
    return { topic, partition, from: BigInt(from), to: BigInt(to), problem }
  }

  #lostUntil(topic: string, partition: number, offset: number): number | undefined {
    return lostRanges(this.tables, topic, partition).find(([from, to]) => from <= offset && offset < to)?.[1]
  }

  committed(group: string): Position[] {
    const found: Position[] = []
    const range = { start: ['position', group, ''], end: ['position', group, '\uffff'] }
    for (const { key, value } of this.tables.catalog.getRange(range)) {
      found.push(positionAt(String(key[2]), Number(key[3]), value as PositionRow))
    }
    return found.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
  }

  start(group: string, topic: string, partition: number): Position {
    const committed = this.tables.catalog.get(['position', group, topic, partition]) as PositionRow | undefined
    return positionAt(topic, partition, committed ?? this.expectPartition(topic, partition).begins[partition] ?? 0)
  }

  /** This process has written: wakes the calls that wait in `changed`. */
  nudge(): void {
    for (const nudge of this.#nudges) nudge()
  }

  /**
   * Waits until any process commits, at most `wait_ms`. A check costs microseconds; the pause between checks grows from
   * 1 to 50 ms.
   */
  async changed(wait_ms: number): Promise<void> {
    const deadline_ms = performance.now() + wait_ms
    const seen = this.#lastTransaction()
    const stop = new AbortController()
    const nudge = () => stop.abort()
    this.#nudges.add(nudge)
    try {
      for (let pause_ms = 1; ; pause_ms = Math.min(pause_ms * 1.2, 50)) {
        const left_ms = deadline_ms - performance.now()
        if (left_ms <= 0) return
        await sleep(Math.min(pause_ms, left_ms), undefined, { signal: stop.signal }).catch(() => undefined)
        if (stop.signal.aborted || this.#closed || this.#lastTransaction() !== seen) return
      }
    } finally {
      this.#nudges.delete(nudge)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.nudge()
    await closeTables(this.tables)
  }

  #lastTransaction(): number {
    return (this.tables.env.getStats() as { lastTxnId: number }).lastTxnId
  }
}

const MOST_LOOKS = 1_000

export interface Place {
  readonly topic: string
  readonly partition: number
  readonly from: number
}
