import { setImmediate } from 'node:timers/promises'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import { sourceOf } from '../../infra/ce-source.ts'
import { type Log, type LogRecord, OffsetGoneError } from '../../infra/log/port/log.ts'
import { type CheckedEvent, checkRecord, fetchAll } from '../../infra/runtime/execute/decode-record.ts'
import type { Event } from '../../schemas/declare/event.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { BlobUnavailableError, decodeEvent, offloadedBlobs, PoisonError } from '../../schemas/wire/codec.ts'
import type { FetchedBlobs } from '../../schemas/wire/offload.ts'
import type { Partitions } from '../../schemas/wire/partitions.ts'
import { DERIVED_BY } from '../duckdb/views/derived.ts'
import type { FormedGroup, GroupPlace } from './open-groups.ts'
import { Remembered } from './remembered.ts'

/** A group as it was formed, with what filters and orders look at. */
export interface Summary extends FormedGroup {
  readonly time: string
  readonly origin: string
  readonly task: string
  readonly purpose: string
  readonly dialect: string
  readonly reward_name: string
  readonly zero_variance: boolean
}

export interface GroupTopicOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: Partitions
  /** Called once for each record that is not a group; it is passed over. */
  readonly report: (message: string) => void
}

/** A record of a group, which was checked when it was paged, and what its event is decoded from. */
export interface GroupRecord {
  readonly record: LogRecord
  readonly blobs: FetchedBlobs
  event(): Event
}

export interface GroupPage {
  readonly groups: readonly Summary[]
  /** Where the next page begins. */
  readonly next: number
  /** The records up to `next` are not in the log any more. */
  readonly gone?: true
}

const PAGE_BYTES = 256 * 1024
/** How long a page is read before other calls get their turn: most pages are read ahead. */
const READ_MS = 2
/** A page ends early once its blobs have so many bytes: most of its groups are leased soon, and kept until then. */
const PAGE_BLOB_BYTES = 4 * 1024 * 1024
/** Of the records and blobs that are kept from their page to their lease. What does not fit is read again. */
const MOST_KEPT_BYTES = 64 * 1024 * 1024
const TOPIC = groupFormed.type
/** Inferred. */
const REPORTS_REMEMBERED = 10_000
/** Only the processor's own events are groups: other programs can write to the topic. */
export const FORMED_BY = sourceOf(DERIVED_BY['rollout.group_formed'])

/** A record that retention has removed. */
export class GroupGoneError extends Error {
  override readonly name = 'GroupGoneError'
  readonly retry = 'never'
}

/** The formed groups of a log, read from any offset. */
export class GroupTopic {
  readonly #options: GroupTopicOptions
  readonly #reported = new Remembered<string>(REPORTS_REMEMBERED)
  /** Paged and not leased yet, by their place, the earliest page first. */
  readonly #kept = new Map<string, { readonly found: GroupRecord; readonly bytes: number }>()
  #kept_bytes = 0

  constructor(options: GroupTopicOptions) {
    this.#options = options
  }

  /** The topic's id; empty where the log has none. */
  async id(): Promise<string> {
    return (await this.#options.log.topics([TOPIC])).find(({ name }) => name === TOPIC)?.id ?? ''
  }

  /** By partition, where a reader has seen every group that is there now. */
  async ends(): Promise<readonly number[]> {
    return (await this.#options.log.endOffsets(TOPIC)).map(Number)
  }

  async beginnings(): Promise<readonly number[]> {
    return (await this.#options.log.beginningOffsets(TOPIC)).map(Number)
  }

  /**
   * Some groups of a partition, from an offset on. A missing blob holds its partition up:
   * the page ends before it. What retention has removed is passed over. Both are reported.
   *
   * @throws Error when the log or the blobs cannot be read
   */
  async page(topic_id: string, partition: number, from: number): Promise<GroupPage> {
    const { log } = this.#options
    const wanted = { topic: TOPIC, partition, from: BigInt(from), max_bytes: PAGE_BYTES }
    const read = await log.read(wanted).catch((error: unknown) => this.#afterGone(partition, from, error))
    if (typeof read === 'number') return { groups: [], next: read, gone: true }
    const { records, next } = read
    const groups: Summary[] = []
    let blob_bytes = 0
    let began_ms = performance.now()
    for (const record of records) {
      if (performance.now() - began_ms > READ_MS) {
        await setImmediate()
        began_ms = performance.now()
      }
      const checked = await this.#groupIn(record)
      if (checked === 'held') return { groups, next: Number(record.offset) }
      if (checked === undefined) continue
      const { event, blobs, bytes } = checked
      const summary = summaryOf(topic_id, record, event)
      groups.push(summary)
      this.#keep(summary, this.#recordOf(record, blobs), bytes)
      blob_bytes += bytes
      if (blob_bytes >= PAGE_BLOB_BYTES) return { groups, next: summary.offset + 1 }
    }
    return { groups, next: Number(next) }
  }

  /** @throws GroupGoneError when the record is not there any more. Error when the log or a blob cannot be read */
  async group(place: GroupPlace): Promise<GroupRecord> {
    const kept = this.#take(place)
    if (kept !== undefined) return kept
    const { partition, offset, group_id } = place
    const { log, blobs } = this.#options
    const wanted = { topic: TOPIC, partition, from: BigInt(offset), max_bytes: 1 }
    const gone = (cause?: unknown) =>
      new GroupGoneError(`${TOPIC} partition ${partition} offset ${offset}: group ${group_id} is gone`, { cause })
    const { records } = await log.read(wanted).catch((error: unknown) => {
      throw error instanceof OffsetGoneError ? gone(error) : error
    })
    const [record] = records
    if (record === undefined || Number(record.offset) !== offset || record.key !== group_id) throw gone()
    return this.#recordOf(record, await fetchAll(offloadedBlobs(record), blobs))
  }

  #recordOf(record: LogRecord, blobs: FetchedBlobs): GroupRecord {
    return { record, blobs, event: () => decodeEvent(record, this.#options.vocabulary, blobs) }
  }

  #keep(place: GroupPlace, found: GroupRecord, blob_bytes: number): void {
    this.#take(place)
    const bytes = blob_bytes + (found.record.value?.length ?? 0)
    this.#kept.set(placeName(place), { found, bytes })
    this.#kept_bytes += bytes
    for (const [name, { bytes }] of this.#kept) {
      if (this.#kept_bytes <= MOST_KEPT_BYTES) return
      this.#kept.delete(name)
      this.#kept_bytes -= bytes
    }
  }

  #take(place: GroupPlace): GroupRecord | undefined {
    const name = placeName(place)
    const kept = this.#kept.get(name)
    if (kept === undefined) return undefined
    this.#kept.delete(name)
    this.#kept_bytes -= kept.bytes
    return kept.found.record.key === place.group_id ? kept.found : undefined
  }

  /** @returns the first offset that is left */
  async #afterGone(partition: number, from: number, error: unknown): Promise<number> {
    const beginning = (await this.beginnings())[partition] ?? 0
    if (!(error instanceof OffsetGoneError) || beginning <= from) throw error
    const place = `${TOPIC} partition ${partition}`
    this.#reportOnce(`${place}: retention has removed offsets ${from} to ${beginning - 1} before they were leased`)
    return beginning
  }

  /** @returns undefined when it is no group; `held` while a blob of it is missing */
  async #groupIn(record: LogRecord): Promise<CheckedEvent | 'held' | undefined> {
    const { vocabulary, partitions, blobs } = this.#options
    try {
      const checked = await checkRecord(record, vocabulary, partitions, blobs)
      const { event } = checked
      if (event.source === FORMED_BY) return checked
      this.#passOver(record, `expected an event of ${FORMED_BY}, got one of ${event.source}`)
    } catch (error) {
      if (!(error instanceof PoisonError) || error instanceof BlobUnavailableError) throw error
      if (error.cause !== undefined) {
        // The blob may come back: going on would lose the group.
        const place = `${TOPIC} partition ${record.partition} offset ${record.offset}`
        this.#reportOnce(`${place} holds its partition up until it can be read: ${error.message}`)
        return 'held'
      }
      this.#passOver(record, error.message)
    }
    return undefined
  }

  #passOver({ partition, offset }: LogRecord, why: string): void {
    this.#reportOnce(`${TOPIC} partition ${partition} offset ${offset} is no group and is not given out: ${why}`)
  }

  #reportOnce(message: string): void {
    if (this.#reported.has(message)) return
    this.#reported.add(message)
    this.#options.report(message)
  }
}

const placeName = ({ topic_id, partition, offset }: GroupPlace) => `${topic_id}/${partition}/${offset}`

/** Of the record, and of its columns that are in blobs. */
const bytesOf = (record: LogRecord) =>
  offloadedBlobs(record).reduce((sum, { bytes }) => sum + bytes, record.value?.length ?? 0)

export function summaryOf(topic_id: string, record: LogRecord, event: Event): Summary {
  const [row] = event.data as unknown as [Event<typeof groupFormed>['data'][number]]
  const { group_id, origin, task, purpose, dialect, reward_name, zero_variance, policy_version_oldest, lineage } = row
  return {
    ...{ topic_id, partition: record.partition, offset: Number(record.offset), group_id },
    ...{ policy_version_oldest, lineage, bytes: bytesOf(record) },
    ...{ time: event.time, origin, task, purpose, dialect, reward_name, zero_variance },
  }
}
