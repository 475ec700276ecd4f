import { setTimeout as wait } from 'node:timers/promises'
import type { BlobRef } from '../../../schemas/declare/logical-types.ts'
import { parseDataSchemaUri } from '../../../schemas/wire/fingerprint.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { BlobMissingError } from '../../blobs/blobs.ts'
import { sourceOf } from '../../ce-source.ts'
import { sizeOf } from '../../log/port/consumer.ts'
import { lastRecord } from '../../log/port/last-record.ts'
import type { LogRecord, Position, Topic, TopicSpec } from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'
import { seenAfter } from '../../log/port/seen.ts'
import { isCompacted } from '../internal/internal-topics.ts'
import { headerOf } from '../internal/json-records.ts'
import { misplacedByTopic } from '../state/misplaced.ts'
import type { ResumingProducer } from '../work/resuming-producer.ts'
import { blobsNamedBy } from './blobs-named-by.ts'
import type { Range } from './merge-ranges.ts'
import { otherLogError, type ReplayOptions } from './replay-options.ts'

/** Event time in milliseconds, on the record's own clock; -Infinity without a valid one. */
export const timeOf = (record: LogRecord) => {
  const time = Date.parse(headerOf(record, 'ce_time') ?? '')
  return Number.isNaN(time) ? Number.NEGATIVE_INFINITY : time
}

/** Waits until each record is due, and copies records to the target in transactions. */
export class ReplayEmitter {
  readonly #options: ReplayOptions
  readonly #producer: ResumingProducer
  readonly #partitions: ReadonlyMap<string, number>
  readonly #of: number
  #batch: LogRecord[] = []
  #bytes = 0
  #passed = 0
  #done: number
  /** By topic/partition, the last record processed since the last commit. */
  readonly #last = new Map<string, LogRecord>()
  readonly #ids: ReadonlyMap<string, string>
  /** Event time elapsed since the first event, and the total up to the last one. */
  #elapsed_ms = 0
  #span_ms = 0
  #started_ms: number | undefined
  readonly #latest = new Map<string, number>()
  readonly result = { records: 0, blobs: 0, missing_blobs: 0 }

  constructor(
    options: ReplayOptions,
    producer: ResumingProducer,
    topics: readonly TopicSpec[],
    ranges: readonly Range[],
    /** The topics of the log that is replayed. */
    recorded: readonly Topic[],
  ) {
    this.#options = options
    this.#producer = producer
    this.#partitions = new Map(topics.map(({ name, partitions }) => [name, partitions]))
    this.#ids = new Map(recorded.map(({ name, id }) => [name, id]))
    this.#of = Number(ranges.reduce((sum, range) => sum + range.to, 0n))
    this.#done = Number(ranges.reduce((sum, range) => sum + range.from, 0n))
  }

  /** Computes the total event time: from the first to the last event of each clock, summed over the clocks. */
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
      this.#last.set(partitionName(record), record)
      this.#done++
      this.#passed++
      if (this.#batch.length >= batch_records || this.#bytes >= batch_bytes || this.#passed >= 10 * batch_records) {
        await this.#commit()
      }
    }
    await this.#commit()
  }

  #isWanted(record: LogRecord): boolean {
    // Each partition has a copy, and each partition of the target gets one of the first.
    if (this.#isBroadcast(record) && record.partition > 0) return false
    // Results of an effect have another source: they are facts.
    return this.#options.what === 'whole' || !(headerOf(record, 'ce_source') ?? '').startsWith(sourceOf(''))
  }

  /** Time elapses on each clock separately: between a virtual and a wall-clock event no time elapses. */
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
      // Commit first, so that events already due do not wait too.
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
    if (this.#last.size === 0) return
    await this.#bringBlobs()
    const positions = [...this.#last.values()].map((record) => this.#behind(record))
    const misplaced = misplacedByTopic(await this.#options.from.log.topics(), positions)
    if (misplaced.length > 0) throw otherLogError(this.#options, misplaced)
    await this.#producer.commit((transaction) => {
      for (const record of this.#batch) {
        const { topic, key, headers, value } = record
        const homes = this.#homes(record)
        for (const home of homes) transaction.append(topic, home, { key, headers, value })
      }
    }, positions)
    this.result.records += this.#batch.length
    this.#batch = []
    this.#bytes = 0
    this.#passed = 0
    this.#last.clear()
    this.#tell()
  }

  #behind(record: LogRecord): Position {
    const { topic, partition, offset } = record
    const topic_id = this.#ids.get(topic) ?? ''
    const last = isCompacted(topic) ? undefined : record
    return { topic, partition, next: offset + 1n, seen: seenAfter({}, topic_id, last) }
  }

  /** A whole copy leaves its records in their partitions, which its journals count. */
  #isBroadcast(record: LogRecord): boolean {
    const type = this.#options.vocabulary.get(record.topic)
    if (this.#options.what === 'whole' || type?.routing !== 'every_partition') return false
    const written = parseDataSchemaUri(headerOf(record, 'ce_dataschema') ?? '')?.version
    return type.earlier.find(({ version }) => version === written)?.routing !== 'key'
  }

  /** The same partition for a whole copy or without a key; otherwise where the event is routed in the target. */
  #homes(record: LogRecord): readonly number[] {
    const { topic, partition, key } = record
    const partitions = this.#partitions.get(topic) ?? 1
    if (this.#isBroadcast(record)) return Array.from({ length: partitions }, (_, at) => at)
    return [this.#options.what === 'whole' || key === null ? partition % partitions : partitionOf(key, partitions)]
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
