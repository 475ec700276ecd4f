import type { Processor } from '../../processors/processor.ts'
import { canonicalHash, firstDifference } from '../../schemas/canonical.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Event } from '../../schemas/event.ts'
import { partitionsOf } from '../../schemas/partitions.ts'
import { partitionOf } from '../../schemas/routing.ts'
import type { Log, LogRecord } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import { type Output, sourceOf } from './emission.ts'
import { headerOf, readRange } from './json-records.ts'
import type { RerunOptions } from './rerun.ts'

export interface Difference {
  readonly kind: 'different' | 'missing' | 'unexpected' | 'unreadable'
  readonly processor: string
  readonly ce_id: string
  /** Event type, partition and offset of the recorded event, or where it should be. */
  readonly where: string
  /** What differs, with both values. */
  readonly message: string
}

export interface VerifyReport {
  readonly processor: string
  readonly rebuilt: number
  readonly equal: number
  readonly recorded: number
  readonly differences: number
  readonly first?: Difference
  /** Why some of what is recorded could not be computed again. */
  readonly unverifiable?: readonly string[]
}

interface Recorded {
  readonly hash: string
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** What a processor has recorded, and what it says when it is run again: compared by `ce_id`. */
export class Comparison {
  readonly #name: string
  readonly #options: RerunOptions
  /** By `ce_id`, in the order of the log: where a source delivers an event twice, what follows is recorded twice. */
  readonly #recorded = new Map<string, Recorded[]>()
  readonly #ends_before: ReadonlyMap<string, readonly bigint[]>
  #first: Difference | undefined
  #differences = 0
  #rebuilt = 0
  #equal = 0
  #found = 0
  #cause_expired = false
  readonly #left_out = new Set<string>()
  readonly #begins = new Map<string, readonly bigint[]>()

  private constructor(name: string, options: RerunOptions, ends_before: ReadonlyMap<string, readonly bigint[]>) {
    this.#name = name
    this.#options = options
    this.#ends_before = ends_before
  }

  /**
   * Reads what is recorded of a processor, or the part of it that is `wanted`.
   * @param ends_before where its outputs ended before anything of what follows was looked at
   */
  static async read(
    processor: Processor,
    ends_before: ReadonlyMap<string, readonly bigint[]>,
    options: RerunOptions,
    { name = processor.name, wanted }: { readonly name?: string; readonly wanted?: (event: Event) => boolean } = {},
  ): Promise<Comparison> {
    const comparison = new Comparison(name, options, ends_before)
    for (const type of processor.outputs) {
      for (let partition = 0; partition < partitionsOf(options.partitions, type.type); partition++) {
        for await (const record of readRange(options.log, type.type, partition, 0n)) {
          if (headerOf(record, 'ce_source') !== sourceOf(processor.name)) continue
          await comparison.#take(type, record, wanted)
        }
      }
    }
    return comparison
  }

  async #take(type: Output['type'], record: LogRecord, wanted: ((event: Event) => boolean) | undefined): Promise<void> {
    try {
      const event = await this.#decode(record)
      if (wanted !== undefined && !wanted(event)) return
      const { partition, offset } = record
      const found = { hash: canonicalHash(type, event), topic: type.type, partition, offset }
      const known = this.#recorded.get(event.id)
      if (known === undefined) this.#recorded.set(event.id, [found])
      else known.push(found)
    } catch (error) {
      if (!(error instanceof PoisonError)) throw error
      this.#add('unreadable', headerOf(record, 'ce_id') ?? '?', placeOf(record), (error as PoisonError).message)
    }
    this.#found++
  }

  get rebuilt(): number {
    return this.#rebuilt
  }

  /** Whether the log holds an event with this one's identity that was not compared yet. */
  holds({ event }: Output): boolean {
    return (this.#recorded.get(event.id)?.length ?? 0) > 0
  }

  async compare({ type, event }: Output): Promise<void> {
    this.#rebuilt++
    const found = this.#recorded.get(event.id)?.shift()
    if (found === undefined) {
      const removed = await this.#removed(type, event)
      const where = `${type.type}, key ${event.key}`
      if (removed !== undefined) this.#left_out.add(removed)
      else this.#add('missing', event.id, where, 'the rebuild says it and the log does not hold it')
    } else if (found.hash === canonicalHash(type, event)) {
      this.#equal++
    } else {
      const record = await recordAt(this.#options.log, found)
      const difference = firstDifference(type, event, await this.#decode(record))
      const message =
        difference === undefined
          ? 'the values differ in their canonical hash alone'
          : `${difference.path}: recorded ${difference.actual}, rebuilt ${difference.expected}`
      this.#add('different', event.id, placeOf(record), message)
    }
  }

  /** Some of it cannot be computed again, and nobody can tell which of what is recorded that is. */
  leaveOut(why: string): void {
    this.#cause_expired = true
    this.#left_out.add(why)
  }

  /** What retention has removed of where this event would be. */
  async #removed(type: Output['type'], event: Event): Promise<string | undefined> {
    const { log, partitions } = this.#options
    let begins = this.#begins.get(type.type)
    if (begins === undefined) {
      begins = await log.beginningOffsets(type.type)
      this.#begins.set(type.type, begins)
    }
    const partition = type.routing === 'key' ? partitionOf(event.key, partitionsOf(partitions, type.type)) : 0
    const beginning = begins[partition] ?? 0n
    if (beginning === 0n) return undefined
    return `recorded event expired: retention removed ${type.type} partition ${partition} below offset ${beginning}`
  }

  /**
   * What is recorded and was not said again is unexpected, but for what has come since the comparison began, and for
   * what could not be computed again.
   */
  report(): VerifyReport {
    const recorded = this.#cause_expired ? [] : this.#recorded
    for (const [id, left] of recorded) {
      for (const { topic, partition, offset } of left) {
        if (offset >= (this.#ends_before.get(topic)?.[partition] ?? 0n)) continue
        const where = `${topic} partition ${partition} offset ${offset}`
        this.#add('unexpected', id, where, 'the log holds it and no rebuild says it')
      }
    }
    this.#recorded.clear()
    const counts = { rebuilt: this.#rebuilt, equal: this.#equal, recorded: this.#found }
    return {
      ...{ processor: this.#name, ...counts, differences: this.#differences },
      ...(this.#first === undefined ? {} : { first: this.#first }),
      ...(this.#left_out.size === 0 ? {} : { unverifiable: [...this.#left_out] }),
    }
  }

  #decode(record: LogRecord): Promise<Event> {
    const { vocabulary, partitions, blobs } = this.#options
    return decodeRecord(record, vocabulary, partitions, blobs)
  }

  #add(kind: Difference['kind'], ce_id: string, where: string, message: string): void {
    this.#differences++
    this.#first ??= { kind, processor: this.#name, ce_id, where, message }
  }
}

/** Where the outputs of a processor end now. */
export async function outputEnds(processor: Processor, log: Log): Promise<ReadonlyMap<string, readonly bigint[]>> {
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

const placeOf = (record: LogRecord) => `${record.topic} partition ${record.partition} offset ${record.offset}`
