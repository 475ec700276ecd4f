import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/log.ts'
import { encodeEvent } from '../schemas/codec.ts'
import type { Event, EventType } from '../schemas/event.ts'
import { type Partitions, partitionsOf } from '../schemas/partitions.ts'
import { partitionOf } from '../schemas/routing.ts'

/** An event to append, with its declaration. */
export interface Said {
  readonly type: EventType
  readonly event: Event
}

/**
 * Something that brings events in, step by step, and can be taken up at any step: steps 0 … `steps` − 1, each giving
 * the same events whenever it is asked for again. How far it has come is committed with its events, so that a killed
 * run goes on where it stopped and a finished one adds nothing.
 */
export interface Source {
  /** Names what is brought in, parameters included: the same name continues the same work. */
  readonly name: string
  readonly steps: number
  /** Blobs that the events name must be put before this resolves. */
  produce(from: number, to: number): Promise<readonly Said[]>
}

const STEPS_AT_A_TIME = 100

/**
 * Appends what a source has left to say.
 *
 * @returns how many steps were done now, and how many had been done before
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
  const producer = await log.producer({ transactional_id: group })
  try {
    const [position] = await log.committed(group)
    const already = Number(position?.next ?? 0n)
    let events = 0
    let next = already
    while (next < source.steps && !signal?.aborted) {
      const to = Math.min(source.steps, next + STEPS_AT_A_TIME)
      const said = await source.produce(next, to)
      const transaction = producer.begin()
      for (const { type, event } of said) {
        const { key, headers, value, blobs } = encodeEvent(type, event)
        for (const blob of blobs) await options.blobs.put(blob.bytes, blob.ref.media_type)
        transaction.append(type.type, partitionOf(event.key, partitionsOf(partitions, type.type)), {
          key,
          headers,
          value,
        })
      }
      // The position counts steps, in the partition of the first event's topic: any one place serves.
      const topic = said[0]?.type.type
      if (topic !== undefined) transaction.standalonePositions(group, [{ topic, partition: 0, next: BigInt(to) }])
      await transaction.commit()
      events += said.length
      next = to
      onProgress?.(next, source.steps)
    }
    return { done: next - already, already, events }
  } finally {
    await producer.close()
  }
}
