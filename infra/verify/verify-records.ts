import type { Event, EventType } from '../../schemas/declare/event.ts'
import { offloadedBlobs, PoisonError } from '../../schemas/wire/codec.ts'
import { wouldRefuseToday } from '../../schemas/wire/validation.ts'
import type { LogRecord } from '../log/port/log.ts'
import { decodeRecord } from '../runtime/execute/decode-record.ts'
import { contentOf, contentOfLetter } from '../runtime/internal/dead-places.ts'
import { ForeignRecordError } from '../runtime/internal/foreign-record.ts'
import { isInternal, type Reading, readingOf } from '../runtime/internal/internal-records.ts'
import {
  DEAD_LETTERS_TOPIC,
  type DeadLetter,
  type JournalEntry,
  journalTopic,
} from '../runtime/internal/internal-topics.ts'
import { headerOf } from '../runtime/internal/json-records.ts'
import { SkippedRecords } from '../runtime/internal/skipped-records.ts'
import { blobsIn, referencesIn } from '../runtime/rebuild/blobs-named-by.ts'
import type { RerunOptions } from '../runtime/state/rerun.ts'
import type { Comparison } from './comparison.ts'
import { type Difference, Findings } from './difference.ts'
import type { NamedBlobs } from './named-blobs.ts'
import { damagedPlace, placeOf, readPast } from './places.ts'
import type { Producers } from './producers.ts'

export interface RecordsReport {
  readonly topics: number
  /** Records read, of events and of internal topics. */
  readonly records: number
  readonly events: number
  /** Facts of programs outside this topology, by `ce_source`. */
  readonly outside: Readonly<Record<string, number>>
  /** Events that cannot be decoded and have a dead letter. */
  readonly dead: number
  /** Events that cannot be decoded and that no processor has reached yet. */
  readonly unread: number
  /** Events of an earlier release that violate today's bounds or row keys. Not a difference. */
  readonly refused_today: number
  /** Places of unreadable records that every reader skips by an operator's order. */
  readonly skipped: readonly string[]
  /** Topics of other programs on a shared broker. */
  readonly left_out: readonly string[]
  readonly differences: number
  readonly found: readonly Difference[]
}

export interface RecordsOptions extends RerunOptions {
  readonly producers: Producers
  /** The log also holds topics of other programs. */
  readonly is_shared: boolean
  readonly named: NamedBlobs
  /** Each receives the events of its processor. */
  readonly comparisons: readonly Comparison[]
  readonly onProgress?: (records: number) => void
}

/**
 * Checks every record of a log: it can be decoded, its type is registered, and its producer may emit it. A source event
 * that cannot be decoded is no difference if a dead letter has its bytes (`dead`), or if no processor has reached it
 * (`unread`), or if an operator had it skipped.
 */
export async function verifyRecords(options: RecordsOptions): Promise<RecordsReport> {
  const reading = new RecordsReading(options)
  return await reading.run()
}

class RecordsReading {
  readonly #options: RecordsOptions
  readonly #findings = new Findings('records')
  readonly #outside = new Map<string, number>()
  /** Topic and content of each dead letter. */
  readonly #dead = new Set<string>()
  #to_skip: SkippedRecords | undefined
  readonly #skipped: string[] = []
  /** By journal topic, input topic and partition: how many records the journal counts. */
  readonly #journalled = new Map<string, number>()
  readonly #left_out: string[] = []
  #records = 0
  #events = 0
  #dead_records = 0
  #unread = 0
  #refused_today = 0

  constructor(options: RecordsOptions) {
    this.#options = options
  }

  async run(): Promise<RecordsReport> {
    const { log, vocabulary } = this.#options
    const topics = await log.topics()
    const isEvent = (name: string) => vocabulary.get(name) !== undefined
    const internal = topics.filter(({ name }) => isInternal(name))
    const events = topics.filter(({ name }) => isEvent(name))
    // Internal topics first: they hold the dead letters, and how far each processor has read.
    for (const { name, partitions } of internal) {
      const reading = readingOf(name) as Reading<unknown>
      await this.#each(name, partitions, (record) => this.#internal(record, () => reading(record, partitions)))
    }
    for (const { name, partitions } of events) await this.#events_of(vocabulary.get(name) as EventType, partitions)
    for (const { name, partitions } of topics) {
      if (!isInternal(name) && !isEvent(name)) await this.#foreign(name, partitions)
    }
    const { count: differences, named: found } = this.#findings
    return {
      topics: internal.length + events.length,
      records: this.#records,
      events: this.#events,
      outside: Object.fromEntries([...this.#outside].sort(([a], [b]) => (a < b ? -1 : 1))),
      dead: this.#dead_records,
      unread: this.#unread,
      refused_today: this.#refused_today,
      skipped: this.#skipped,
      left_out: this.#left_out,
      differences,
      found,
    }
  }

  async #each(
    topic: string,
    partitions: number,
    take: (record: LogRecord, ordinal: number) => Promise<void> | void,
  ): Promise<void> {
    const { log, onProgress } = this.#options
    for (let partition = 0; partition < partitions; partition++) {
      let ordinal = 0
      const records = readPast(log, topic, partition, (damage) => {
        ordinal += Number(damage.to - damage.from)
        this.#findings.add('damaged', damagedPlace(damage), damage.problem)
        for (const comparison of this.#options.comparisons) comparison.damaged(damage)
      })
      for await (const record of records) {
        const taken = take(record, ordinal++)
        if (taken !== undefined) await taken
        this.#records++
        onProgress?.(this.#records)
      }
    }
  }

  async #internal(record: LogRecord, read: () => unknown): Promise<void> {
    const { named, producers } = this.#options
    try {
      const value = read()
      if (record.topic === DEAD_LETTERS_TOPIC) {
        const letter = value as DeadLetter
        producers.addLetter(letter)
        this.#dead.add(`${letter.topic} ${contentOfLetter(letter)}`)
        for (const ref of referencesIn(letter)) await named.name(ref, placeOf(record))
      } else if (record.topic.startsWith(journalTopic(''))) this.#journal(record, value as JournalEntry)
    } catch (error) {
      if (!(error instanceof ForeignRecordError)) throw error
      if (!(await this.#skips(record))) this.#findings.add('unreadable', placeOf(record), error.message)
    }
  }

  async #skips(record: LogRecord): Promise<boolean> {
    this.#to_skip ??= await SkippedRecords.read(this.#options.log)
    if (!this.#to_skip.has(record)) return false
    this.#skipped.push(placeOf(record))
    return true
  }

  #journal({ topic, partition }: LogRecord, { topics, runs, reset }: JournalEntry): void {
    const counts = new Map<string, number>()
    if (reset !== undefined) {
      const own = `${topic} `
      for (const at of this.#journalled.keys()) {
        if (at.startsWith(own) && at.endsWith(`/${partition}`)) this.#journalled.delete(at)
      }
    }
    for (const [index, count] of runs) {
      const at = `${topic} ${topics[index]}/${partition}`
      counts.set(at, (counts.get(at) ?? this.#journalled.get(at) ?? 0) + count)
    }
    for (const [at, count] of counts) this.#journalled.set(at, count)
  }

  async #events_of(type: EventType, partitions: number): Promise<void> {
    const { producers, named, vocabulary, blobs, comparisons } = this.#options
    const derived_here = comparisons.filter((comparison) => comparison.takesType(type))
    await this.#each(type.type, partitions, async (record, ordinal) => {
      this.#events++
      const own = derived_here.filter((comparison) => comparison.takes(record))
      let event: Event
      try {
        event = await decodeRecord(record, vocabulary, this.#options.partitions, blobs)
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error
        for (const comparison of own) comparison.add(type, record, error as PoisonError)
        if (own.length === 0) await this.#unreadable(type, record, ordinal, (error as PoisonError).message)
        return
      }
      for (const comparison of own) comparison.add(type, record, event)
      if (wouldRefuseToday(type, event) !== undefined) this.#refused_today++
      const verdict = producers.judge(type, record, event.causes)
      if (verdict === 'outside') this.#outside.set(event.source, (this.#outside.get(event.source) ?? 0) + 1)
      else if (verdict !== 'ours') this.#findings.add('producer', placeOf(record), verdict.problem, event.id)
      for (const ref of offloadedBlobs(record)) await named.name(ref, placeOf(record))
      for (const ref of blobsIn(type, event)) await named.name(ref, placeOf(record))
    })
  }

  async #unreadable({ type }: EventType, record: LogRecord, ordinal: number, message: string): Promise<void> {
    const counts = [...this.#journalled].filter(([at]) => at.endsWith(` ${type}/${record.partition}`))
    if (this.#dead.has(`${type} ${contentOf(record)}`)) this.#dead_records++
    else if (counts.length > 0 && counts.every(([, count]) => count <= ordinal)) this.#unread++
    else if (await this.#skips(record)) return
    else this.#findings.add('unreadable', placeOf(record), message, headerOf(record, 'ce_id'))
  }

  async #foreign(topic: string, partitions: number): Promise<void> {
    const ends = await this.#options.log.endOffsets(topic)
    const begins = await this.#options.log.beginningOffsets(topic)
    if (ends.slice(0, partitions).every((end, partition) => end <= (begins[partition] ?? 0n))) return
    if (this.#options.is_shared) this.#left_out.push(topic)
    else this.#findings.add('unregistered', topic, `no event of this topology has this topic, and it holds records`)
  }
}
