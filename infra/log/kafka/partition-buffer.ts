import { sizeOf } from '../consumer.ts'
import type { LogRecord, ReadResult } from '../log.ts'
import { type Batch, batchesIn, isAbort, recordsOf } from './record-batch.ts'
import type { Fetched } from './records-protocol.ts'

/** What was fetched of one partition and not taken yet. Batches stay compressed until somebody takes their records. */
export class PartitionBuffer {
  readonly topic: string
  readonly partition: number
  /** The topic's name in the records. */
  readonly #shown: string
  /** Where taking goes on. */
  at: bigint
  /** Where fetching goes on. */
  fetch_from: bigint
  /** As fetched. */
  bytes = 0
  #batches: Batch[] = []
  /** Of the first batch, those from `at` on. */
  #records: LogRecord[] = []
  #taken = 0

  constructor(topic: string, partition: number, at: bigint, shown: string) {
    this.topic = topic
    this.#shown = shown
    this.partition = partition
    this.at = at
    this.fetch_from = at
  }

  /** Whether taking would move on. */
  get isEmpty(): boolean {
    return this.at === this.fetch_from
  }

  /** Keeps the committed batches of an answer to a fetch from `fetch_from`. */
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

  /** As `Log.read`; without `at_least_one`, none when the first one does not fit. */
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
      if (bytes + size > max_bytes && !(at_least_one && records.length === 0)) {
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
      const batch = this.#batches.shift()
      if (batch === undefined) {
        this.#records = []
        this.#taken = 0
        return undefined
      }
      this.bytes -= batch.records.length
      this.#records = recordsOf(batch, this.#shown, this.partition, this.at)
      this.#taken = 0
    }
    return this.#records[this.#taken]
  }
}
