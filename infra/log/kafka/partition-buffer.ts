import { sizeOf } from '../port/consumer.ts'
import type { LogRecord, ReadResult } from '../port/log.ts'
import { type Batch, BatchRecords, batchesIn, isAbort } from './record-batch.ts'
import type { Fetched } from './records-protocol.ts'

/** Limit of one read: empty records do not count against its bytes. */
const MOST_RECORDS = 100_000

/** Fetched records of one partition that were not taken yet. Batches stay compressed until their records are taken. */
export class PartitionBuffer {
  readonly topic: string
  readonly partition: number
  /** The topic's name in the records. */
  readonly #shown: string
  /** Offset at which the next `take` starts. */
  at: bigint
  /** Offset at which the next fetch starts. */
  fetch_from: bigint
  /** Compressed size of the buffered batches. */
  bytes = 0
  #batches: Batch[] = []
  /** The batch that is being taken; `#records` is its portion that is already decoded. */
  #first_batch: BatchRecords | undefined
  #records: LogRecord[] = []
  #taken = 0

  constructor(topic: string, partition: number, at: bigint, shown: string) {
    this.topic = topic
    this.#shown = shown
    this.partition = partition
    this.at = at
    this.fetch_from = at
  }

  /** Whether `take` would make no progress. */
  get isEmpty(): boolean {
    return this.at === this.fetch_from
  }

  /** Adds the committed batches of an answer to a fetch from `fetch_from`. */
  add({ bytes, aborted, last_stable }: Fetched): void {
    const begun = [...aborted].sort((a, b) => (a.first < b.first ? -1 : 1))
    const aborting = new Set<bigint>()
    for (const batch of batchesIn(bytes)) {
      if (batch.next <= this.fetch_from || batch.base >= last_stable) continue
      while (begun[0] !== undefined && begun[0].first < batch.next)
        aborting.add((begun.shift() as { producer: bigint }).producer)
      if (batch.control) {
        if (isAbort(batch)) aborting.delete(batch.producer)
      } else if (batch.count > 0 && !(batch.transactional && aborting.has(batch.producer))) {
        this.#batches.push(batch)
        this.bytes += batch.records.length
      }
      this.fetch_from = batch.next
    }
  }

  /** As `Log.read`; without `at_least_one`, no record if the first one does not fit. */
  take(max_bytes: number, at_least_one: boolean): ReadResult {
    const records: LogRecord[] = []
    let bytes = 0
    for (;;) {
      const record = this.#first()
      if (record === undefined) {
        this.at = this.fetch_from
        return { records, bytes, next: this.at }
      }
      const size = sizeOf(record)
      const isFull = bytes + size > max_bytes || records.length === MOST_RECORDS
      if (isFull && !(at_least_one && records.length === 0)) {
        if (records.length > 0) this.at = record.offset
        return { records, bytes, next: this.at }
      }
      bytes += size
      records.push(record)
      this.#taken += 1
    }
  }

  #first(): LogRecord | undefined {
    while (this.#taken >= this.#records.length) {
      this.#records = this.#first_batch?.next() ?? []
      this.#taken = 0
      if (this.#records.length > 0) break
      const batch = this.#batches.shift()
      if (batch === undefined) {
        this.#first_batch = undefined
        return undefined
      }
      this.bytes -= batch.records.length
      this.#first_batch = new BatchRecords(batch, this.#shown, this.partition, this.at)
    }
    return this.#records[this.#taken]
  }
}
