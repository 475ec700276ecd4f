import type { Event, EventType, RowOfEvent } from '../../../schemas/declare/event.ts'
import { FEED_SOURCES } from '../../../schemas/events/training.ts'
import { sourceId } from '../../../schemas/wire/identity.ts'
import type { GroupPlace } from '../open-groups.ts'

export interface Decided {
  readonly type: EventType
  readonly event: Event
}

type Named = 'consumer' | 'number'
type Fact = EventType<'json'>
type Batch = EventType<'arrow'>

/** Far enough below the limit of an event for columns' padding and offsets. */
const MOST_BYTES = 256 * 1024
/** Of a row's numbers; the texts are counted. */
const ROW_BYTES = 128

/** The events that a call leads to, numbered after those of the consumer. They are committed in one transaction. */
export class Decisions {
  readonly made: Decided[] = []
  readonly #consumer: string
  readonly #time: string
  #number: number

  /** @param time of all of them */
  constructor({ name, number }: { readonly name: string; readonly number: number }, time: string) {
    this.#consumer = name
    this.#number = number
    this.#time = time
  }

  add<T extends Fact>(type: T, row: Omit<RowOfEvent<T>, Named>): void {
    this.#push(type, (number) => ({ consumer: this.#consumer, number, ...row }))
  }

  /** As many events as their size needs; none without rows. */
  addRows<T extends Batch>(type: T, rows: readonly Omit<RowOfEvent<T>, Named>[]): void {
    for (const part of partsOf(rows)) {
      this.#push(type, (number) => part.map((row) => ({ consumer: this.#consumer, number, ...row })))
    }
  }

  #push(type: EventType, dataOf: (number: number) => unknown): void {
    this.#number += 1
    const { type: name, version } = type
    const event = {
      id: sourceId(['feed', this.#consumer, String(this.#number)]),
      source: `${FEED_SOURCES}${this.#consumer}`,
      type: name,
      version,
      time: this.#time,
      key: this.#consumer,
      clock: 'wall',
      causes: [],
      data: dataOf(this.#number),
    }
    this.made.push({ type, event: event as unknown as Event })
  }
}

/** Splits rows so that each part fits into one event. */
export function partsOf<R extends object>(rows: readonly R[]): R[][] {
  const parts: R[][] = []
  let bytes = MOST_BYTES
  for (const row of rows) {
    const size = ROW_BYTES + textsIn(row)
    if (bytes + size > MOST_BYTES) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)?.push(row)
    bytes += size
  }
  return parts
}

function textsIn(row: object): number {
  let bytes = 0
  for (const value of Object.values(row)) if (typeof value === 'string') bytes += Buffer.byteLength(value)
  return bytes
}

/** The columns that name a group in an event. */
export const placeOf = ({ topic_id, partition, offset, group_id }: GroupPlace): GroupPlace => ({
  ...{ topic_id, partition, offset, group_id },
})
