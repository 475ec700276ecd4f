import { setTimeout as sleep } from 'node:timers/promises'
import { sizeOfAll } from '../consumer.ts'
import { offsetGone, unknownPartition, unknownTopic } from '../failure.ts'
import {
  type LogRecord,
  type Position,
  type ReadRequest,
  type ReadResult,
  type TopicSpec,
  UnknownTopicError,
} from '../log.ts'
import { type Budget, readChunk } from './read-chunk.ts'
import { chunkKey, offsetOf, type Tables, type TopicRow, topicRow } from './tables.ts'

/**
 * The log's reads, on the event loop: a read is a few page look-ups in memory, and never waits for a writer. All reads
 * between two calls of `refresh` see the same moment.
 */
export class Reader {
  readonly tables: Tables
  readonly #address: string
  readonly #nudges = new Set<() => void>()
  #closed = false

  constructor(tables: Tables, address: string) {
    this.tables = tables
    this.#address = address
  }

  /** Sees what has been committed until now. */
  refresh(): void {
    this.tables.env.resetReadTxn()
  }

  topics(): TopicSpec[] {
    const found: TopicSpec[] = []
    for (const { key, value } of this.tables.catalog.getRange({ start: ['topic', ''], end: ['topic', '\uffff'] })) {
      found.push({ name: String(key[1]), partitions: (value as TopicRow).ends.length })
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

  read(request: ReadRequest, at_least_one: boolean): ReadResult {
    const { topic, partition, from: start, max_bytes } = request
    const row = this.expectPartition(topic, partition)
    const begin = row.begins[partition] as number
    const end = row.ends[partition] as number
    if (start < BigInt(begin)) {
      throw offsetGone(this.#address, { topic, partition, from: start, beginning: BigInt(begin) })
    }
    const records: LogRecord[] = []
    const budget: Budget = { bytes: max_bytes, at_least_one }
    let from = Number(start)
    while (from < end && (budget.bytes > 0 || budget.at_least_one)) {
      const chunk = this.#chunkWith(row.id, partition, from)
      if (chunk === undefined)
        throw new Error(`${this.#address} topic ${topic} partition ${partition}: no record at ${from}.`)
      const reached = readChunk(chunk.bytes, { topic, partition, first: chunk.first }, from, budget, records)
      if (reached === from) break
      from = reached
      if (budget.bytes <= 0) break
    }
    return { records, bytes: sizeOfAll(records), next: start > BigInt(from) ? start : BigInt(from) }
  }

  /** Who reads on asks for a chunk's first offset; who seeks, for one inside. */
  #chunkWith(topic_id: number, partition: number, offset: number): { first: number; bytes: Buffer } | undefined {
    const key = chunkKey(topic_id, partition, offset)
    const exact = this.tables.chunks.getBinary(key)
    if (exact !== undefined) return { first: offset, bytes: exact }
    const end = chunkKey(topic_id, partition, 0)
    for (const entry of this.tables.chunks.getRange({ start: key, reverse: true, limit: 1 })) {
      if (entry.key.compare(end, 0, 8, 0, 8) === 0) return { first: offsetOf(entry.key), bytes: entry.value }
    }
    return undefined
  }

  committed(group: string): Position[] {
    const found: Position[] = []
    const range = { start: ['position', group, ''], end: ['position', group, '\uffff'] }
    for (const { key, value } of this.tables.catalog.getRange(range)) {
      found.push({ topic: String(key[2]), partition: Number(key[3]), next: BigInt(value as number) })
    }
    return found.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
  }

  start(group: string, topic: string, partition: number): bigint {
    const committed = this.tables.catalog.get(['position', group, topic, partition]) as number | undefined
    return BigInt(committed ?? this.expectPartition(topic, partition).begins[partition] ?? 0)
  }

  /** This process has written: whoever waits may look now. */
  nudge(): void {
    for (const nudge of this.#nudges) nudge()
  }

  /**
   * Waits until some process has committed something, or `wait_ms`. Looking costs microseconds; it is done less often
   * the longer nothing comes.
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
    await this.tables.env.close()
  }

  #lastTransaction(): number {
    return (this.tables.env.getStats() as { lastTxnId: number }).lastTxnId
  }
}
