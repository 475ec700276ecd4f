import { setTimeout as wait } from 'node:timers/promises'
import type { BlobRef } from '../../schemas/logical-types.ts'
import { partitionOf } from '../../schemas/routing.ts'
import { BlobMissingError } from '../blobs/blobs.ts'
import { sizeOf } from '../log/consumer.ts'
import type { LogRecord, Position, Producer, TopicSpec } from '../log/log.ts'
import { blobsNamedBy } from './blobs-named-by.ts'
import { sourceOf } from './emission.ts'
import { headerOf } from './json-records.ts'
import { lastRecord } from './lag-report.ts'
import type { Range } from './merge-ranges.ts'
import type { ReplayOptions } from './replay-options.ts'

/** When it happened, on its own clock. */
export const timeOf = (record: LogRecord) => {
  const time = Date.parse(headerOf(record, 'ce_time') ?? '')
  return Number.isNaN(time) ? Number.NEGATIVE_INFINITY : time
}

/** Takes records one after the other, waits until each is due, and brings them over in transactions. */
export class ReplayEmitter {
  readonly #options: ReplayOptions
  readonly #producer: Producer
  readonly #partitions: ReadonlyMap<string, number>
  readonly #of: number
  #batch: LogRecord[] = []
  #bytes = 0
  #passed = 0
  #done: number
  readonly #positions = new Map<string, Position>()
  /** Event time that has gone by since the first event, and how much lies before the last one. */
  #elapsed_ms = 0
  #span_ms = 0
  #started_ms: number | undefined
  readonly #latest = new Map<string, number>()
  readonly result = { records: 0, blobs: 0, missing_blobs: 0 }

  constructor(options: ReplayOptions, producer: Producer, topics: readonly TopicSpec[], ranges: readonly Range[]) {
    this.#options = options
    this.#producer = producer
    this.#partitions = new Map(topics.map(({ name, partitions }) => [name, partitions]))
    this.#of = Number(ranges.reduce((sum, range) => sum + range.to, 0n))
    this.#done = Number(ranges.reduce((sum, range) => sum + range.from, 0n))
  }

  /** How much event time there is to go through: on each clock, from the first to the last event. */
  async pace(ranges: readonly Range[]): Promise<void> {
    if (this.#options.speed === Number.POSITIVE_INFINITY) return
    const { log } = this.#options.from
    const clocks = new Map<string, { first: number; last: number }>()
    for (const { topic, partition, from, to } of ranges) {
      if (from >= to) continue
      const { records } = await log.read({ topic, partition, from, max_bytes: 1 })
      for (const record of [records[0], await lastRecord(log, topic, partition, to)]) {
        if (record === undefined) continue
        const time = timeOf(record)
        if (!Number.isFinite(time)) continue
        const clock = headerOf(record, 'ce_clock') ?? ''
        const known = clocks.get(clock) ?? { first: time, last: time }
        clocks.set(clock, { first: Math.min(known.first, time), last: Math.max(known.last, time) })
      }
    }
    for (const { first, last } of clocks.values()) this.#span_ms += last - first
  }

  async emit(records: AsyncIterable<LogRecord>, paced: boolean): Promise<void> {
    const { signal, wanted, batch_records = 1_000, batch_bytes = 2 * 1024 * 1024 } = this.#options
    for await (const record of records) {
      if (signal.aborted) break
      await this.#pauseIfAsked()
      if (this.#isWanted(record) && (wanted === undefined || wanted(record))) {
        if (paced) await this.#due(record)
        if (signal.aborted) break
        this.#batch.push(record)
        this.#bytes += sizeOf(record)
      }
      const { topic, partition, offset } = record
      this.#positions.set(`${topic}/${partition}`, { topic, partition, next: offset + 1n })
      this.#done++
      this.#passed++
      if (this.#batch.length >= batch_records || this.#bytes >= batch_bytes || this.#passed >= 10 * batch_records) {
        await this.#commit()
      }
    }
    await this.#commit()
  }

  #isWanted(record: LogRecord): boolean {
    // What an effect recorded has another source: those are facts.
    return this.#options.what === 'whole' || !(headerOf(record, 'ce_source') ?? '').startsWith(sourceOf(''))
  }

  /** Time goes by on each clock for itself: from the last virtual event to the first one by the wall is no time. */
  async #due(record: LogRecord): Promise<void> {
    const { speed, signal } = this.#options
    if (speed === Number.POSITIVE_INFINITY) return
    const time = timeOf(record)
    if (!Number.isFinite(time)) return
    const clock = headerOf(record, 'ce_clock') ?? ''
    const latest = this.#latest.get(clock) ?? time
    this.#elapsed_ms += Math.max(0, time - latest)
    this.#latest.set(clock, Math.max(time, latest))
    this.#started_ms ??= performance.now()
    for (;;) {
      const wait_ms = this.#started_ms + this.#elapsed_ms / speed - performance.now()
      if (wait_ms <= 1 || signal.aborted) return
      // What was due is there before the wait, not after it.
      await this.#commit()
      await wait(Math.min(wait_ms, 100), undefined, { signal }).catch(() => {})
      await this.#pauseIfAsked()
      this.#tell()
    }
  }

  async #pauseIfAsked(): Promise<void> {
    const pause = this.#options.paused?.()
    if (pause === undefined) return
    await this.#commit()
    const before = performance.now()
    await pause()
    if (this.#started_ms !== undefined) this.#started_ms += performance.now() - before
  }

  async #commit(): Promise<void> {
    if (this.#positions.size === 0) return
    await this.#bringBlobs()
    const transaction = this.#producer.begin()
    for (const { topic, partition, key, headers, value } of this.#batch) {
      transaction.append(topic, this.#home(topic, partition, key), { key, headers, value })
    }
    transaction.standalonePositions(this.#options.name, [...this.#positions.values()])
    await transaction.commit()
    this.result.records += this.#batch.length
    this.#batch = []
    this.#bytes = 0
    this.#passed = 0
    this.#positions.clear()
    this.#tell()
  }

  /** The same partition, or where the key belongs when the target has another number of them. */
  #home(topic: string, partition: number, key: string | null): number {
    const partitions = this.#partitions.get(topic) ?? 1
    return this.#options.what === 'whole' || key === null ? partition % partitions : partitionOf(key, partitions)
  }

  async #bringBlobs(): Promise<void> {
    const { from, to, vocabulary } = this.#options
    const refs = new Map<string, BlobRef>()
    for (const record of this.#batch) {
      if (record.topic.startsWith('_')) continue
      for (const ref of await blobsNamedBy(record, vocabulary, from.blobs)) refs.set(ref.sha256, ref)
    }
    const bring = async (ref: BlobRef) => {
      if (await to.blobs.has(ref)) return
      try {
        await to.blobs.put(await from.blobs.get(ref), ref.media_type)
        this.result.blobs++
      } catch (error) {
        if (!(error instanceof BlobMissingError)) throw error
        this.result.missing_blobs++
      }
    }
    const all = [...refs.values()]
    for (let at = 0; at < all.length; at += 16) await Promise.all(all.slice(at, at + 16).map(bring))
  }

  #tell(): void {
    const { speed, onProgress } = this.#options
    const left_ms =
      speed === Number.POSITIVE_INFINITY ? undefined : Math.max(0, this.#span_ms - this.#elapsed_ms) / speed
    onProgress?.({ done: this.#done, of: this.#of, left_ms })
  }
}
