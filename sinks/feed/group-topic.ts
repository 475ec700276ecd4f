import type { Blobs } from '../../infra/blobs/blobs.ts'
import { sourceOf } from '../../infra/ce-source.ts'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { decodeRecord } from '../../infra/runtime/execute/decode-record.ts'
import type { Event } from '../../schemas/declare/event.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { BlobUnavailableError, PoisonError } from '../../schemas/wire/codec.ts'
import type { Partitions } from '../../schemas/wire/partitions.ts'
import { DERIVED_BY } from '../duckdb/views/derived.ts'
import type { FormedGroup, GroupPlace } from './open-groups.ts'

/** A group as it was formed, with what filters and orders look at. */
export interface Summary extends FormedGroup {
  readonly time: string
  readonly origin: string
  readonly task: string
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

/** A record of a group with its event. */
export interface GroupRecord {
  readonly record: LogRecord
  readonly event: Event
}

const PAGE_BYTES = 1024 * 1024
const TOPIC = groupFormed.type
/** Only the processor's own events are groups: other programs can write to the topic. */
export const FORMED_BY = sourceOf(DERIVED_BY['rollout.group_formed'])

/** The formed groups of a log, read from any offset. */
export class GroupTopic {
  readonly #options: GroupTopicOptions
  readonly #reported = new Set<string>()

  constructor(options: GroupTopicOptions) {
    this.#options = options
  }

  /** The topic's id; empty where the log has none. */
  async id(): Promise<string> {
    return (await this.#options.log.topics()).find(({ name }) => name === TOPIC)?.id ?? ''
  }

  /** By partition, where a reader has seen every group that is there now. */
  async ends(): Promise<readonly number[]> {
    return (await this.#options.log.endOffsets(TOPIC)).map(Number)
  }

  async beginnings(): Promise<readonly number[]> {
    return (await this.#options.log.beginningOffsets(TOPIC)).map(Number)
  }

  /**
   * Some groups of a partition, from an offset on, and where the next page begins.
   *
   * @throws Error when the log or the blobs cannot be read; a missing blob holds its partition up
   */
  async page(
    topic_id: string,
    partition: number,
    from: number,
  ): Promise<{ readonly groups: readonly Summary[]; readonly next: number }> {
    const { records, next } = await this.#options.log.read({
      ...{ topic: TOPIC, partition, from: BigInt(from), max_bytes: PAGE_BYTES },
    })
    const groups: Summary[] = []
    for (const record of records) {
      const event = await this.#groupIn(record)
      if (event !== undefined) groups.push(summaryOf(topic_id, record, event))
    }
    return { groups, next: Number(next) }
  }

  /** @throws Error when the record or a blob of it is not there any more */
  async group({ partition, offset, group_id }: GroupPlace): Promise<GroupRecord> {
    const { log, vocabulary, partitions, blobs } = this.#options
    const { records } = await log.read({ topic: TOPIC, partition, from: BigInt(offset), max_bytes: 1 })
    const [record] = records
    if (record === undefined || Number(record.offset) !== offset || record.key !== group_id) {
      throw new Error(
        `${TOPIC} partition ${partition} offset ${offset}: expected group ${group_id}, found ${record?.key ?? 'nothing'}`,
      )
    }
    return { record, event: await decodeRecord(record, vocabulary, partitions, blobs, 'elements') }
  }

  async #groupIn(record: LogRecord): Promise<Event | undefined> {
    const { vocabulary, partitions, blobs } = this.#options
    try {
      const event = await decodeRecord(record, vocabulary, partitions, blobs)
      if (event.source === FORMED_BY) return event
      this.#passOver(record, `expected an event of ${FORMED_BY}, got one of ${event.source}`)
    } catch (error) {
      // A blob may come back: going on would lose the group.
      if (!(error instanceof PoisonError) || error instanceof BlobUnavailableError || error.cause !== undefined)
        throw error
      this.#passOver(record, error.message)
    }
    return undefined
  }

  #passOver({ partition, offset }: LogRecord, why: string): void {
    const place = `${TOPIC} partition ${partition} offset ${offset}`
    if (this.#reported.has(place)) return
    this.#reported.add(place)
    this.#options.report(`${place} is no group and is not given out: ${why}`)
  }
}

export function summaryOf(topic_id: string, record: LogRecord, event: Event): Summary {
  const [row] = event.data as unknown as [Event<typeof groupFormed>['data'][number]]
  const { group_id, origin, task, dialect, reward_name, zero_variance, policy_version_oldest, lineage } = row
  return {
    ...{ topic_id, partition: record.partition, offset: Number(record.offset), group_id },
    ...{ policy_version_oldest, lineage, bytes: record.value?.length ?? 0 },
    ...{ time: event.time, origin, task, dialect, reward_name, zero_variance },
  }
}
