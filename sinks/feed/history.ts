import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { decodeUnlessPoison } from '../../infra/runtime/execute/decode-record.ts'
import { readRange } from '../../infra/runtime/internal/json-records.ts'
import type { Event, EventType, RowOfEvent } from '../../schemas/declare/event.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'
import { consumerSubscribed, FEED_SOURCES, TRAINING_EVENTS } from '../../schemas/events/training.ts'
import { type Partitions, partitionsOf } from '../../schemas/wire/partitions.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { namesOf } from './consumer-state.ts'

export interface TrainingLog {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: Partitions
}

export type Transport = RowOfEvent<typeof consumerSubscribed>['transport']

/** The consumers that ever subscribed, sorted by name, and how each of them is given its groups. */
export async function consumersIn({
  log,
  blobs,
  vocabulary,
  partitions,
}: TrainingLog): Promise<Map<string, Transport>> {
  const found = new Map<string, Transport>()
  const { type } = consumerSubscribed
  for (let partition = 0; partition < partitionsOf(partitions, type); partition++) {
    for await (const record of readRange(log, type, partition, 0n)) {
      const { key } = record
      if (key === null) continue
      const event = await decodeUnlessPoison(record, vocabulary, partitions, blobs)
      const is_own = event?.source === `${FEED_SOURCES}${key}`
      // One that cannot be read is found damaged when it is opened.
      if (is_own) found.set(key, (event.data as unknown as RowOfEvent<typeof consumerSubscribed>).transport)
      else if (!found.has(key)) found.set(key, 'http')
    }
  }
  return new Map([...found].sort(([one], [other]) => (one < other ? -1 : 1)))
}

/**
 * The training events of a consumer, in the order of their numbers. Records that cannot be decoded are left out: if one of
 * them was the feed's, its number is missing.
 *
 * @param after only events with a higher number
 * @param positions by topic, where reading begins; moved past each event once the caller asks for the one after it
 */
export async function* eventsOf(
  options: TrainingLog,
  consumer: string,
  after = 0,
  positions: Map<string, bigint> = new Map(),
): AsyncGenerator<Event> {
  const topics = TRAINING_EVENTS.map((type) => ofTopic(options, type, consumer, after, positions))
  // Within a topic they are in order: one process at a time writes them, in one order.
  const heads = await Promise.all(topics.map(async (events) => ({ events, head: await events.next() })))
  for (;;) {
    const there = heads.filter(({ head }) => !head.done)
    const [first, ...others] = there
    if (first === undefined) return
    const next = others.reduce(
      (one, other) => (numberOf(other.head.value) < numberOf(one.head.value) ? other : one),
      first,
    )
    yield next.head.value as Event
    next.head = await next.events.next()
  }
}

const numberOf = (event: Event | undefined) => (event === undefined ? Number.POSITIVE_INFINITY : namesOf(event).number)

async function* ofTopic(
  { log, blobs, vocabulary, partitions }: TrainingLog,
  { type }: EventType,
  consumer: string,
  after: number,
  positions: Map<string, bigint>,
): AsyncGenerator<Event, undefined> {
  const partition = partitionOf(consumer, partitionsOf(partitions, type))
  let last = after
  for await (const record of readRange(log, type, partition, positions.get(type) ?? 0n)) {
    if (record.key === consumer) {
      const event = await decodeUnlessPoison(record, vocabulary, partitions, blobs)
      // What other programs wrote is not the feed's; and the same event twice in the log is one event.
      if (event?.source === `${FEED_SOURCES}${consumer}` && numberOf(event) > last) {
        last = numberOf(event)
        yield event
      }
    }
    positions.set(type, record.offset + 1n)
  }
  return undefined
}
