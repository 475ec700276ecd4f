import type { Processor } from '../../processors/processor.ts'
import type { Event, EventType } from '../../schemas/declare/event.ts'
import type { ImageRef } from '../../schemas/declare/logical-types.ts'
import { canonicalHash, firstDifference, looksAlike } from '../../schemas/wire/canonical.ts'
import { blobsToDecode, decodeEvent, type EncodedEvent, PoisonError } from '../../schemas/wire/codec.ts'
import { partitionsOf } from '../../schemas/wire/partitions.ts'
import { homesOf } from '../../schemas/wire/routing.ts'
import { BlobCorruptError, BlobMissingError } from '../blobs/blobs.ts'
import { sourceOf } from '../ce-source.ts'
import type { Damage, Log, LogRecord } from '../log/port/log.ts'
import { partitionName } from '../log/port/partition-name.ts'
import { decodeRecord } from '../runtime/execute/decode-record.ts'
import type { Output } from '../runtime/execute/emission.ts'
import type { Failure } from '../runtime/execute/executed.ts'
import { withElements } from '../runtime/execute/load-tensors.ts'
import { headerOf } from '../runtime/internal/json-records.ts'
import { blobsIn } from '../runtime/rebuild/blobs-named-by.ts'
import type { RerunOptions } from '../runtime/state/rerun.ts'
import { type Difference, Findings } from './difference.ts'
import type { NamedBlobs } from './named-blobs.ts'
import { damagedPlace, placeOf, readPast } from './places.ts'

export interface VerifyReport {
  readonly processor: string
  readonly rebuilt: number
  readonly equal: number
  readonly recorded: number
  readonly differences: number
  readonly first?: Difference
  /** Why some recorded events could not be recomputed. */
  readonly unverifiable?: readonly string[]
}

interface Recorded {
  readonly hash: string
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

export interface ComparisonOptions extends RerunOptions {
  /** Name in the report (default: the processor's). */
  readonly name?: string
  /** Selects the recorded events to compare (default: all). */
  readonly wanted?: (event: Event) => boolean
  /** By topic, where its outputs ended when its positions were reset. Events below are left out. */
  readonly from?: ReadonlyMap<string, readonly bigint[]>
  /** Reads images whose references differ, if it reads blobs. */
  readonly named?: NamedBlobs
}

/** Compares, by `ce_id`, the recorded events of a processor with those that it emits in a rebuild. */
export class Comparison {
  readonly #processor: Processor
  readonly #source: string
  readonly #options: ComparisonOptions
  readonly findings: Findings
  readonly #gone = new Map<string, string>()
  /** By `ce_id`, in the order of the log: when a source delivers an event twice, its outputs are recorded twice. */
  readonly #recorded = new Map<string, Recorded[]>()
  readonly #ends_before: ReadonlyMap<string, readonly bigint[]>
  #rebuilt = 0
  #equal = 0
  #found = 0
  #cause_expired = false
  readonly #left_out = new Set<string>()
  readonly #begins = new Map<string, readonly bigint[]>()

  private constructor(
    processor: Processor,
    options: ComparisonOptions,
    ends_before: ReadonlyMap<string, readonly bigint[]>,
  ) {
    this.#processor = processor
    this.#source = sourceOf(processor.name)
    this.#options = options
    this.findings = new Findings(options.name ?? processor.name)
    this.#ends_before = ends_before
  }

  /** Call before any other read: outputs that a live worker appends later are never reported as unexpected. */
  static async begin(processor: Processor, options: ComparisonOptions): Promise<Comparison> {
    return new Comparison(processor, options, await outputEnds(processor, options.log))
  }

  /** Reads the recorded events of the processor, for callers that do not read the whole log. */
  async read(): Promise<this> {
    const { log, partitions } = this.#options
    for (const type of this.#processor.outputs) {
      for (let partition = 0; partition < partitionsOf(partitions, type.type); partition++) {
        const records = readPast(log, type.type, partition, (damage) => {
          this.damaged(damage)
          this.findings.add('damaged', damagedPlace(damage), damage.problem)
        })
        for await (const record of records) if (this.takes(record)) this.add(type, record, await this.#decoded(record))
      }
    }
    return this
  }

  /** Whether the processor emits events of this type. */
  takesType({ type }: EventType): boolean {
    return this.#processor.outputs.some((output) => output.type === type)
  }

  /** Whether the processor emitted this record of one of its types. */
  takes(record: LogRecord): boolean {
    return headerOf(record, 'ce_source') === this.#source
  }

  /** One recorded event of the processor, or why it cannot be decoded. */
  add(type: EventType, record: LogRecord, read: Event | PoisonError): void {
    const from = this.#options.from?.get(type.type)?.[record.partition] ?? 0n
    if (record.offset < from) {
      const where = `${type.type} partition ${record.partition} below offset ${from}`
      this.#left_out.add(`emitted before its positions were reset: ${where}`)
      return
    }
    if (read instanceof Error) {
      this.findings.add('unreadable', placeOf(record), read.message, headerOf(record, 'ce_id'))
    } else {
      if (this.#options.wanted?.(read) === false) return
      const { partition, offset } = record
      const found = { hash: canonicalHash(type, read), topic: type.type, partition, offset }
      const known = this.#recorded.get(read.id)
      if (known === undefined) this.#recorded.set(read.id, [found])
      else known.push(found)
    }
    this.#found++
  }

  /** Some records cannot be read: a rebuilt event that the log lacks may have been among them. */
  damaged(damage: Damage): void {
    this.#gone.set(partitionName(damage), `${damagedPlace(damage)}, which is damaged`)
  }

  lost(damage: Damage): void {
    this.#gone.set(partitionName(damage), `${damagedPlace(damage)}, which was lost before a repair`)
  }

  get rebuilt(): number {
    return this.#rebuilt
  }

  /** Whether the log holds an event with this one's identity that was not compared yet. */
  holds({ event }: Output): boolean {
    return (this.#recorded.get(event.id)?.length ?? 0) > 0
  }

  async compare({ type, event: emitted, encoded }: Output): Promise<void> {
    this.#rebuilt++
    const event = this.#asRecorded(emitted, encoded)
    const found = this.#recorded.get(event.id)?.shift()
    if (found === undefined) {
      const removed = await this.#removed(type, event)
      const where = `${type.type}, key ${event.key}`
      if (removed !== undefined) this.#left_out.add(removed)
      else this.findings.add('missing', where, 'the rebuild emits it, and the log does not contain it', event.id)
    } else if (found.hash === canonicalHash(type, event)) {
      this.#equal++
    } else {
      await this.#differs(type, emitted, await recordAt(this.#options.log, found))
    }
  }

  /** With references in place of the tensors that its record would store: comparing those reads no elements. */
  #asRecorded(event: Event, encoded: EncodedEvent): Event {
    if (encoded.blobs.length === 0) return event
    const { vocabulary } = this.#options
    const needed = new Set(blobsToDecode(encoded, vocabulary).map(({ sha256 }) => sha256))
    const bytes = new Map(encoded.blobs.map((blob) => [blob.ref.sha256, blob.bytes]))
    return decodeEvent(encoded, vocabulary, (sha256) => (needed.has(sha256) ? bytes.get(sha256) : undefined))
  }

  async #differs(type: EventType, emitted: Event, record: LogRecord): Promise<void> {
    const [event, recorded] = await this.#whole(emitted, record)
    if (canonicalHash(type, event) === canonicalHash(type, recorded)) {
      this.#equal++
      return
    }
    const images = looksAlike(type, event, recorded) ? await this.#imageProblem(type, event, recorded) : undefined
    if (images === null) {
      this.#equal++
      return
    }
    const difference = firstDifference(type, event, recorded)
    const message =
      difference === undefined
        ? 'the values differ in their canonical hash alone'
        : `${difference.path}: recorded ${difference.actual}, rebuilt ${difference.expected}`
    const more = images === undefined ? message : `${message}; ${images}`
    this.findings.add('different', placeOf(record), more, event.id)
  }

  /** With the elements of all tensors: equal ones may be in unequal blobs. References where a blob cannot be read. */
  async #whole(emitted: Event, record: LogRecord): Promise<[Event, Event]> {
    const { vocabulary, partitions, blobs } = this.#options
    try {
      const recorded = await decodeRecord(record, vocabulary, partitions, blobs, 'elements')
      return [await withElements(emitted, blobs), recorded]
    } catch (error) {
      const is_unreadable = [PoisonError, BlobMissingError, BlobCorruptError].some((kind) => error instanceof kind)
      if (!is_unreadable) throw error
      return [emitted, await this.#decode(record)]
    }
  }

  /** Encodings of one picture are equal. @returns null if all images show the pixels that they claim, else why not */
  async #imageProblem(type: EventType, ...events: readonly Event[]): Promise<string | null> {
    const { named } = this.#options
    if (!named?.were_read) return 'images may be encoded otherwise, which verify --blobs looks at'
    for (const ref of events.flatMap((event) => blobsIn(type, event))) {
      const problem = 'pixels_sha256' in ref ? await named.problemOf(ref as ImageRef) : undefined
      if (problem !== undefined) return problem
    }
    return null
  }

  fail({ event, error, expiring }: Failure): void {
    const where = `${event.type}, key ${expiring ?? event.key}`
    this.findings.add('failed', where, `it was taken when it was recorded, and fails now: ${error.message}`, event.id)
  }

  /** Some events cannot be recomputed, and it cannot be known which of the recorded ones these are. */
  leaveOut(why: string): void {
    this.#cause_expired = true
    this.#left_out.add(why)
  }

  /** Why this event may be absent from its partition: retention or damage. Undefined when neither explains it. */
  async #removed(type: Output['type'], event: Event): Promise<string | undefined> {
    const { log, partitions } = this.#options
    let begins = this.#begins.get(type.type)
    if (begins === undefined) {
      begins = await log.beginningOffsets(type.type)
      this.#begins.set(type.type, begins)
    }
    const [partition = 0] = homesOf(type, event.key, partitions)
    const gone = this.#gone.get(partitionName({ topic: type.type, partition }))
    if (gone !== undefined) return `recorded event may have been at ${gone}`
    const beginning = begins[partition] ?? 0n
    if (beginning === 0n) return undefined
    return `recorded event expired: retention removed ${type.type} partition ${partition} below offset ${beginning}`
  }

  /**
   * A recorded event that no rebuild emitted is unexpected, unless it was appended after the comparison began, or a
   * cause was left out.
   */
  report(): VerifyReport {
    const recorded = this.#cause_expired ? [] : this.#recorded
    for (const [id, left] of recorded) {
      for (const { topic, partition, offset } of left) {
        if (offset >= (this.#ends_before.get(topic)?.[partition] ?? 0n)) continue
        const place = placeOf({ topic, partition, offset })
        this.findings.add('unexpected', place, 'the log contains it, and the rebuild does not emit it', id)
      }
    }
    this.#recorded.clear()
    const counts = { rebuilt: this.#rebuilt, equal: this.#equal, recorded: this.#found }
    const { count: differences, named } = this.findings
    return {
      ...{ processor: this.#options.name ?? this.#processor.name, ...counts, differences },
      ...(named[0] === undefined ? {} : { first: named[0] }),
      ...(this.#left_out.size === 0 ? {} : { unverifiable: [...this.#left_out] }),
    }
  }

  #decode(record: LogRecord): Promise<Event> {
    const { vocabulary, partitions, blobs } = this.#options
    return decodeRecord(record, vocabulary, partitions, blobs)
  }

  async #decoded(record: LogRecord): Promise<Event | PoisonError> {
    try {
      return await this.#decode(record)
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error
      return error as PoisonError
    }
  }
}

/** Where the outputs of a processor end now. */
async function outputEnds(processor: Processor, log: Log): Promise<ReadonlyMap<string, readonly bigint[]>> {
  const ends = new Map<string, readonly bigint[]>()
  for (const { type } of processor.outputs) ends.set(type, await log.endOffsets(type))
  return ends
}

async function recordAt(log: Log, { topic, partition, offset }: Recorded): Promise<LogRecord> {
  const { records } = await log.read({ topic, partition, from: offset, max_bytes: 1 })
  const [record] = records
  if (record?.offset !== offset)
    throw new Error(`${topic} partition ${partition} offset ${offset} was there and is gone`)
  return record
}
