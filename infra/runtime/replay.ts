import { setTimeout as wait } from 'node:timers/promises'
import { clockTicked } from '../../schemas/clock.ts'
import type { EventType } from '../../schemas/event.ts'
import type { BlobRef } from '../../schemas/logical-types.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { partitionOf } from '../../schemas/routing.ts'
import { BlobMissingError, type Blobs } from '../blobs/blobs.ts'
import { sizeOf } from '../log/consumer.ts'
import type { Log, LogRecord, Position, Producer, TopicSpec } from '../log/log.ts'
import { blobsNamedBy } from './blobs-named-by.ts'
import { sourceOf } from './emission.ts'
import { changelogTopic, journalTopic, SNAPSHOTS_TOPIC, TOPOLOGY_TOPIC } from './internal-topics.ts'
import { headerOf } from './json-records.ts'
import { lastRecord } from './lag-report.ts'
import { mergeRanges, type Range } from './merge-ranges.ts'

export interface Place {
  readonly log: Log
  readonly blobs: Blobs
}

export interface ReplayOptions {
  readonly from: Place
  readonly to: Place
  /** Names the work: how far it has come is kept in the target under it, in the transactions that bring the records. */
  readonly name: string
  readonly events: readonly EventType[]
  readonly vocabulary: Catalogue
  /**
   * `whole`: everything that was said and how it was computed, so that `verify` passes on the copy. `sources`: only
   * what cannot be computed again, less ticks, for a run that computes the rest.
   */
  readonly what: 'whole' | 'sources'
  /** Only with `sources`: which records, of those. */
  readonly wanted?: (record: LogRecord) => boolean
  /** Only with `sources`: where to begin, per topic and partition. */
  readonly starts?: ReadonlyMap<string, readonly bigint[]>
  /** How many times faster than it happened, by `ce_time`; Infinity does not wait. */
  readonly speed: number
  readonly signal: AbortSignal
  /** Asked between transactions; resolves when the replay may go on. */
  readonly paused?: () => Promise<void> | undefined
  readonly onProgress?: (progress: ReplayProgress) => void
  /** Bounds of one transaction. */
  readonly batch_records?: number
  readonly batch_bytes?: number
}

export interface ReplayProgress {
  /** Records passed since the beginning, those of earlier attempts included, of so many. */
  readonly done: number
  readonly of: number
  /** Until the last event is due; undefined when nothing is waited for. */
  readonly left_ms: number | undefined
}

export interface Replayed {
  /** Records appended now. */
  readonly records: number
  readonly blobs: number
  /** Named by a record, and not even the log that was replayed has them. */
  readonly missing_blobs: number
  /** False: stopped before the end; the same replay goes on from there. */
  readonly complete: boolean
}

/** The target holds what would come between this log's records and their order. */
export class ReplayRefusedError extends Error {
  override readonly name = 'ReplayRefusedError'
}

/**
 * Emits a recorded log again, as far as it goes when this is called: events in the order of `ce_time`, within a
 * partition in the order of the log, at their original spacing or faster; then, of a whole log, what its workers wrote
 * for themselves. Each record once, whatever is killed when: positions in the recorded log commit with the records.
 *
 * Snapshots stay behind: they name offsets of their own log. The state comes from the changelogs.
 *
 * @throws ReplayRefusedError when the target is not a place for it.
 */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { from, to, name, what, signal } = options
  const ends = await endsTogether(from.log)
  const topics = await targetTopics(options, [...ends.keys()])
  const known = new Map((await to.log.committed(name)).map((at) => [`${at.topic}/${at.partition}`, at.next]))
  if (what === 'whole') await refuseMixing(options, topics, known.size > 0)
  await to.log.createTopics(topics)

  const rangesOf = async (names: readonly string[]): Promise<Range[]> => {
    const ranges: Range[] = []
    for (const topic of names) {
      const begins = await from.log.beginningOffsets(topic)
      for (const [partition, end] of (ends.get(topic) ?? []).entries()) {
        const start = options.starts?.get(topic)?.[partition] ?? 0n
        const begin = [begins[partition] ?? 0n, start].reduce((a, b) => (a > b ? a : b))
        const next = known.get(`${topic}/${partition}`) ?? begin
        if (next > end) {
          throw new ReplayRefusedError(
            `${to.log.address} has ${topic} partition ${partition} from ${from.log.address} up to offset ${next}, which ends at ${end}: it is another log now; replay it into another place`,
          )
        }
        ranges.push({ topic, partition, from: next, to: end })
      }
    }
    return ranges
  }
  const names = topics.map((topic) => topic.name).filter((name) => name !== SNAPSHOTS_TOPIC)
  const said = await rangesOf(names.filter((topic) => options.vocabulary.get(topic) !== undefined))
  const behind = await rangesOf(names.filter((topic) => options.vocabulary.get(topic) === undefined).sort(byDependence))

  const producer = await to.log.producer({ transactional_id: name })
  try {
    const emitter = new Emitter(options, producer, topics, [...said, ...behind])
    await emitter.pace(said)
    await emitter.emit(mergeRanges(from.log, said, timeOf), true)
    for (const range of behind)
      await emitter.emit(
        mergeRanges(from.log, [range], () => 0),
        false,
      )
    return { ...emitter.result, complete: !signal.aborted }
  } finally {
    await producer.close()
  }
}

/** Where every topic ended at one moment: looked at until two looks in a row agree, so no commit lies between them. */
async function endsTogether(log: Log): Promise<Map<string, readonly bigint[]>> {
  const look = async () => {
    const ends = new Map<string, readonly bigint[]>()
    for (const { name } of await log.topics()) ends.set(name, await log.endOffsets(name))
    return ends
  }
  const text = (ends: Map<string, readonly bigint[]>) => [...ends].map(([name, at]) => `${name} ${at}`).join('\n')
  for (let before = await look(), tries = 0; ; tries++) {
    const now = await look()
    if (text(before) === text(now)) return now
    if (tries >= 1_000)
      throw new Error(`${log.address} changes faster than it can be looked at; stop its run for a moment`)
    before = now
    await wait(1)
  }
}

/** Changelogs and dead letters, then the journals that say they are complete, then the topology that vouches for all. */
function byDependence(a: string, b: string): number {
  const place = (topic: string) => (topic === TOPOLOGY_TOPIC ? 2 : topic.startsWith(journalTopic('')) ? 1 : 0)
  return place(a) - place(b) || (a < b ? -1 : 1)
}

async function targetTopics({ from, to, what, events }: ReplayOptions, names: readonly string[]): Promise<TopicSpec[]> {
  const there = new Map((await to.log.topics()).map((topic) => [topic.name, topic.partitions]))
  const order = new Map(events.map((type, at) => [type.type, at]))
  const place = (name: string) => order.get(name) ?? Number.POSITIVE_INFINITY
  const topics = (await from.log.topics()).filter(({ name }) => names.includes(name))
  const wanted = what === 'whole' ? topics : topics.filter(({ name }) => order.has(name) && name !== clockTicked.type)
  return wanted
    .sort((a, b) => (place(a.name) < place(b.name) ? -1 : place(a.name) > place(b.name) ? 1 : 0))
    .map(({ name, partitions }) => ({
      name,
      partitions: what === 'whole' ? partitions : (there.get(name) ?? [...there.values()][0] ?? partitions),
    }))
}

/** A journal counts the records of its partition: nothing may lie before them or come between them. */
async function refuseMixing(
  { from, to }: ReplayOptions,
  topics: readonly TopicSpec[],
  goes_on: boolean,
): Promise<void> {
  const there = new Set((await to.log.topics()).map(({ name }) => name))
  const remedy = 'replay into an empty place, or bring the sources only'
  for (const { name } of topics) {
    if (name.startsWith(changelogTopic('')) && (await from.log.beginningOffsets(name)).some((begin) => begin > 0n)) {
      throw new ReplayRefusedError(
        `${from.log.address}: the beginning of ${name} is gone, and states with it; bring the sources only`,
      )
    }
    const processor = name.startsWith(journalTopic('')) ? name.slice(journalTopic('').length) : undefined
    if (processor !== undefined && (await to.log.committed(processor)).length > 0) {
      throw new ReplayRefusedError(
        `${processor} has been at work in ${to.log.address}: its journal and the replayed one would mix; ${remedy}`,
      )
    }
    if (goes_on || !there.has(name)) continue
    if ((await to.log.endOffsets(name)).some((end) => end > 0n)) {
      throw new ReplayRefusedError(`${to.log.address} holds records of ${name} already; ${remedy}`)
    }
  }
}

const timeOf = (record: LogRecord) => {
  const time = Date.parse(headerOf(record, 'ce_time') ?? '')
  return Number.isNaN(time) ? Number.NEGATIVE_INFINITY : time
}

/** Takes records one after the other, waits until each is due, and brings them over in transactions. */
class Emitter {
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
    await pause
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
