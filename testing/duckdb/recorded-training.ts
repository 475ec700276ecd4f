import type { Log } from '../../infra/log/port/log.ts'
import type { DataOf, Event, EventType, RowOfEvent } from '../../schemas/declare/event.ts'
import {
  checkpointSaved,
  consumerRetired,
  consumerSubscribed,
  FEED_SOURCES,
  groupsApplied,
  groupsDropped,
  groupsLeased,
  leaseEnded,
  offsetsExpired,
  type ROLLED_BACK_FROM,
  rolledBack,
  runStarted,
  stepBegun,
  stepCompleted,
} from '../../schemas/events/training.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { DEFAULT_SUBSCRIPTION } from '../../sinks/feed/subscription.ts'
import { append, eventOf, PARTITIONS, type Story } from './recorded-tower.ts'

/** For tests of the views on training: what the feed appends for a consumer, one event at a time. */

/** A formed group, as training events name it. */
export interface Place {
  readonly topic_id: string
  readonly partition: number
  readonly offset: number
  readonly group_id: string
}

/** Appends formed groups to an empty topic of a memory log, each in a transaction of its own. */
export class FormedGroups {
  readonly #next = Array.from({ length: PARTITIONS }, () => 0)

  /** Where the group will be. Call it in the order in which the groups are formed. */
  place(group_id: string): Place {
    const partition = partitionOf(group_id, PARTITIONS)
    const offset = this.#next[partition] as number
    this.#next[partition] = offset + 2 // a transaction leaves a gap
    return { topic_id: 'formed', partition, offset, group_id }
  }
}

/** An event as the feed has numbered it. */
export interface Told {
  readonly type: EventType
  readonly event: Event
}

/** What an event adds to where a group lies. */
type Named<T extends EventType, Given extends string> = Omit<RowOfEvent<T>, Given | 'consumer' | 'number' | keyof Place>

const MINUTE_MS = 60_000
const BEGIN_MS = Date.UTC(2026, 0, 1)
/** The time of the event of a number. */
export const timeOf = (number: number) => new Date(BEGIN_MS + number * MINUTE_MS).toISOString()

export const ANY = { ...DEFAULT_SUBSCRIPTION.filter, purposes: null } satisfies RowOfEvent<
  typeof consumerSubscribed
>['filter']

export class FedConsumer {
  readonly consumer: string
  readonly told: Told[] = []
  run = 'r1'
  epoch = 0
  #lease = 0

  constructor(consumer: string) {
    this.consumer = consumer
  }

  /** The number of its last event. */
  get number(): number {
    return this.told.length
  }

  subscribed(
    filter: Partial<RowOfEvent<typeof consumerSubscribed>['filter']> = {},
    start: readonly number[] = Array.from({ length: PARTITIONS }, () => 0),
  ): this {
    const offsets = start.map((offset, partition) => ({ partition, offset }))
    return this.#fact(consumerSubscribed, {
      filter: { ...ANY, ...filter },
      topic_id: 'formed',
      start: offsets,
      formed_before: offsets,
      order: 'arrival',
      order_seed: '',
      order_window: 1,
      max_staleness: null,
      without_version: 'always',
      lease_ms: 60_000,
      keep_checkpoints: 16,
      transport: 'http',
    })
  }

  retired(): this {
    return this.#fact(consumerRetired, { reason: 'told by the test' })
  }

  started({
    run = this.run,
    world_size = 1,
    lineage = `${this.consumer}/${run}`,
    ...more
  }: Partial<DataOf<typeof runStarted>> = {}): this {
    this.run = run
    this.epoch += 1
    const attempt = `attempt-${this.epoch}`
    const from = { forked_from: null, checkpoint: null, step: 0 }
    return this.#fact(runStarted, { ...this.#ids(), attempt, world_size, lineage, ...from, ...more })
  }

  leased(
    rank: number,
    groups: readonly (readonly [sequence: number, Place])[],
    versions: { policy_version_oldest: number | null; lineage: string | null } = {
      policy_version_oldest: 3,
      lineage: null,
    },
  ): this {
    const lease = ++this.#lease
    return this.#named(groupsLeased, groups, { rank, lease, request: `request-${lease}`, bytes: 1, ...versions })
  }

  numbered(rank: number, groups: readonly (readonly [sequence: number, Place])[]): this {
    const more = { policy_version_oldest: 3, lineage: null, bytes: 1 }
    return this.#named(groupsLeased, groups, { rank, lease: null, request: 'numbered', ...more })
  }

  ended(rank: number, groups: readonly (readonly [sequence: number, Place])[]): this {
    return this.#named(leaseEnded, groups, { rank, lease: 1, reason: 'expired' })
  }

  begun(rank: number, step: number, groups: readonly (readonly [sequence: number, Place])[]): this {
    return this.#named(stepBegun, groups, { rank, step, lease: 1 })
  }

  applied(rank: number, step: number, groups: readonly (readonly [sequence: number, Place])[]): this {
    return this.#named(groupsApplied, groups, { rank, step })
  }

  completed(rank: number, step: number, measured: Partial<DataOf<typeof stepCompleted>> = {}): this {
    const nothing = { groups: 0, loss: null, grad_norm: null, tokens: null, seconds: null, metrics: {} }
    return this.#fact(stepCompleted, { ...this.#ids(), rank, step, ...nothing, ...measured })
  }

  dropped(groups: readonly (readonly [sequence: number | null, Place])[]): this {
    return this.#named(groupsDropped, groups, { reason: 'stale', detail: 'told by the test' })
  }

  saved(checkpoint: string, step: number, groups: readonly (readonly [sequence: number, Place])[]): this {
    return this.#named(checkpointSaved, groups, {
      checkpoint,
      parent: null,
      step,
      world_size: 1,
      weights_sha256: 'a'.repeat(64),
      policy_version: null,
      parts: 1,
      groups: groups.length,
    })
  }

  rolledBack(
    checkpoint: string | null,
    was: (typeof ROLLED_BACK_FROM)[number],
    groups: readonly (readonly [sequence: number, Place])[],
  ): this {
    const more = { policy_version_oldest: 3, lineage: null, bytes: 1 }
    return this.#named(rolledBack, groups, { checkpoint, was, ...more })
  }

  expired(partition: number, first_offset: number, until_offset: number): this {
    return this.#fact(offsetsExpired, { ...this.#ids(), topic_id: 'formed', partition, first_offset, until_offset })
  }

  #ids() {
    return { run: this.run, epoch: this.epoch }
  }

  #named<T extends EventType<'arrow'>>(
    type: T,
    groups: readonly (readonly [sequence: number | null, Place])[],
    more: Named<T, 'run' | 'epoch' | 'sequence'>,
  ): this {
    const number = this.number + 1
    const rows = groups.map(([sequence, place]) => {
      return { consumer: this.consumer, number, ...this.#ids(), sequence, ...place, ...more }
    })
    return this.#tell(type, rows as unknown as DataOf<T>)
  }

  #fact<T extends EventType<'json'>>(type: T, more: Omit<RowOfEvent<T>, 'consumer' | 'number'>): this {
    return this.#tell(type, { consumer: this.consumer, number: this.number + 1, ...more } as unknown as DataOf<T>)
  }

  #tell<T extends EventType>(type: T, data: DataOf<T>): this {
    const number = this.number + 1
    const source = FEED_SOURCES + this.consumer
    const event = eventOf(type, `${this.consumer}-${number}`, this.consumer, data, source)
    this.told.push({ type, event: { ...event, time: timeOf(number) } as Event })
    return this
  }
}

/** Appends these events in one transaction. */
export async function appendTold(log: Log, told: readonly Told[]): Promise<void> {
  await append(log, (story: Story) => {
    for (const { type, event } of told) story.event(type, event as never)
  })
}
