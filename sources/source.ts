import type { Blobs } from '../infra/blobs/blobs.ts'
import { putAll } from '../infra/blobs/put-all.ts'
import { type Log, type NewRecord, type Position, TopicReplacedError } from '../infra/log/port/log.ts'
import { ResumingProducer } from '../infra/runtime/work/resuming-producer.ts'
import type { DataOf, Event, EventType } from '../schemas/declare/event.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { type Partitions, partitionsOf } from '../schemas/wire/partitions.ts'
import { partitionOf } from '../schemas/wire/routing.ts'

/** An event to append, with its declaration. */
export interface Said {
  readonly type: EventType
  readonly event: Event
}

/** What a source says about an event. `id`: the same for the same step, e.g. by `sourceId`. */
type SourceEnvelope = Pick<Event, 'id' | 'source' | 'time' | 'clock' | 'correlation' | 'seed'> & {
  readonly causes?: readonly string[]
}

/** An event of a source, from its data and the part of the envelope that its declaration does not give. */
export function said<T extends EventType>(
  type: T,
  data: DataOf<T>,
  { causes = [], ...envelope }: SourceEnvelope,
): Said {
  const first = (Array.isArray(data) ? data[0] : data) as Record<string, unknown>
  const event = { ...envelope, causes, type: type.type, version: type.version, key: String(first[type.key]), data }
  return { type, event: event as unknown as Event }
}

/**
 * Produces events in steps 0 … `steps` − 1 and can resume at any step: a step always gives the same events. Progress is
 * committed together with the events, so that a killed run resumes where it stopped and a finished one adds nothing.
 */
export interface Source {
  /** Identifies the events, parameters included: a source with the same name resumes the same work. */
  readonly name: string
  readonly steps: number
  /** Event types that it may emit. */
  readonly types: readonly EventType[]
  /** Number of steps, from this one on, in one transaction; default 100. */
  stepsAt?(from: number): number
  /** Must store all blobs that the events refer to before it resolves. */
  produce(from: number, to: number): Promise<readonly Said[]>
}

const STEPS_AT_A_TIME = 100

/**
 * Appends the remaining events of a source.
 *
 * @returns the numbers of steps done now and done before, and of events appended
 * @throws RivalError when another process runs a source of this name.
 * @throws TopicReplacedError when events of earlier steps are lost because a topic was deleted and created again.
 */
export async function runSource(
  source: Source,
  options: {
    readonly log: Log
    readonly blobs: Blobs
    readonly partitions: Partitions
    readonly signal?: AbortSignal
    readonly onProgress?: (done: number, steps: number) => void
  },
): Promise<{ readonly done: number; readonly already: number; readonly events: number }> {
  const { log, partitions, signal, onProgress } = options
  const group = `source/${source.name}`
  const producer = await ResumingProducer.open(log, { transactional_id: group, group })
  try {
    const [position] = producer.positions
    const already = Number(position?.next ?? 0n)
    const ids = await idsOf(source, log)
    if (position !== undefined && already > 0) await expectSameTopics(source, log, group, position, ids)
    let events = 0
    let next = already
    while (next < source.steps && !signal?.aborted) {
      const to = Math.min(source.steps, next + (source.stepsAt?.(next) ?? STEPS_AT_A_TIME))
      const said = await source.produce(next, to)
      const encoded = said.map(({ type, event }) => ({ type, event, ...encodeEvent(type, event) }))
      await putAll(
        options.blobs,
        encoded.flatMap(({ blobs }) => blobs),
      )
      const appends: { topic: string; partition: number; record: NewRecord }[] = []
      for (const { type, event, key, headers, value } of encoded) {
        const partition = partitionOf(event.key, partitionsOf(partitions, type.type))
        appends.push({ topic: type.type, partition, record: { key, headers, value } })
      }
      // The position counts steps. It is stored under partition 0 of the first event's topic; any partition would do.
      const topic = said[0]?.type.type
      await producer.commit(
        (transaction) => {
          for (const { topic, partition, record } of appends) transaction.append(topic, partition, record)
        },
        topic === undefined ? [] : [{ topic, partition: 0, next: BigInt(to), seen: { topic_id: ids.join() } }],
      )
      events += said.length
      next = to
      onProgress?.(next, source.steps)
    }
    return { done: next - already, already, events }
  } finally {
    await producer.close()
  }
}

/** Ids of the topics that it appends to, in the order of `types`; empty if any of them does not exist. */
async function idsOf({ types }: Source, log: Log): Promise<readonly string[]> {
  const known = new Map((await log.topics()).map(({ name, id }) => [name, id]))
  const ids = types.map(({ type }) => known.get(type) ?? '')
  return ids.includes('') ? [] : ids
}

async function expectSameTopics(
  { types, steps }: Source,
  log: Log,
  group: string,
  { topic, next, seen }: Position,
  ids: readonly string[],
): Promise<void> {
  const before = seen?.topic_id ? seen.topic_id.split(',') : []
  const other = types.find((_, at) => ids[at] !== undefined && before[at] !== undefined && ids[at] !== before[at])
  // A position of an earlier release has no topic ids: only an empty topic shows that the events are lost.
  const is_empty = seen === undefined && (await log.endOffsets(topic)).every((end) => end === 0n)
  if (other === undefined && !is_empty) return
  throw new TopicReplacedError(
    `${log.address}: ${group} has brought in ${next} of ${steps} steps, and ${other?.type ?? topic} was deleted and made ` +
      `again since: what it would add now comes after what is gone. To bring in all of it again (an event that is still ` +
      `there counts once): ./plumbline positions reset --only '${group}'`,
  )
}
