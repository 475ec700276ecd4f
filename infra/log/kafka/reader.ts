import { offsetGone } from '../failure.ts'
import type { ReadRequest, ReadResult } from '../log.ts'
import type { Connection } from './connection.ts'
import { offsetsOf } from './offsets.ts'
import { PartitionBuffer } from './partition-buffer.ts'
import { type Fetched, fetch } from './records-protocol.ts'

/** The least that is asked for: a smaller fetch brings a whole batch all the same. */
const LEAST_FETCH_BYTES = 64 * 1024
const MOST_FETCH_BYTES = 8 * 1024 * 1024
/** Partitions of which the rest of a fetch is kept for whoever reads on. */
const KEPT = 16

/** Reads without a group: from any offset, as much as asked for. */
export class Reader {
  readonly #connection: Connection
  /** By place, the last one used last. */
  readonly #rest = new Map<string, PartitionBuffer>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async read({ topic, partition, from, max_bytes }: ReadRequest): Promise<ReadResult> {
    const place = `${topic}/${partition}`
    const rest = this.#rest.get(place)
    this.#rest.delete(place)
    const buffer =
      rest?.at === from && !rest.isEmpty
        ? rest
        : new PartitionBuffer(topic, partition, from, this.#connection.shown(topic))
    if (buffer.isEmpty && !(await this.#fetch(buffer, max_bytes))) return { records: [], bytes: 0, next: from }
    const taken = buffer.take(max_bytes, true)
    if (!buffer.isEmpty) this.#keep(place, buffer)
    return taken
  }

  /** What was fetched of a partition counts no more: some of it has been deleted. */
  forget(topic: string, partition: number): void {
    this.#rest.delete(`${topic}/${partition}`)
  }

  #keep(place: string, buffer: PartitionBuffer): void {
    this.#rest.set(place, buffer)
    for (const oldest of this.#rest.keys()) {
      if (this.#rest.size <= KEPT) return
      this.#rest.delete(oldest)
    }
  }

  /** @returns whether there may be something */
  async #fetch(buffer: PartitionBuffer, max_bytes: number): Promise<boolean> {
    const { topic, partition, at: from } = buffer
    const bytes = Math.min(MOST_FETCH_BYTES, Math.max(LEAST_FETCH_BYTES, max_bytes))
    const fetched = await this.#connection.attempt(
      `reading ${this.#connection.shown(topic)} partition ${partition}`,
      async () => {
        const leader = await this.#connection.leader(topic, partition)
        const [answer] = await fetch(leader, [{ topic, partition, from, max_bytes: bytes }], {
          wait_ms: 0,
          max_bytes: bytes,
        })
        if (answer?.error !== undefined && answer.error.type !== 'OFFSET_OUT_OF_RANGE') throw answer.error
        return answer
      },
    )
    if (fetched === undefined) return false
    if (fetched.error !== undefined) {
      await throwIfGone(this.#connection, topic, partition, from)
      return false
    }
    addTo(buffer, fetched, this.#connection)
    return !buffer.isEmpty
  }
}

/** @throws Error naming the place when a batch is damaged or of a kind that cannot be read. */
export function addTo(buffer: PartitionBuffer, fetched: Fetched, connection: Connection): void {
  try {
    buffer.add(fetched)
  } catch (cause) {
    const { topic, partition, fetch_from } = buffer
    const place = `${connection.address.text} topic ${connection.shown(topic)} partition ${partition} from offset ${fetch_from}`
    throw new Error(`${place}: ${(cause as Error).message}`, { cause })
  }
}

/** An offset outside of what the broker has is either removed, or beyond the end. */
export async function throwIfGone(
  connection: Connection,
  topic: string,
  partition: number,
  from: bigint,
): Promise<void> {
  const begin = (await offsetsOf(connection, topic, 'beginning'))[partition] ?? 0n
  if (from >= begin) return
  throw offsetGone(connection.address.text, { topic: connection.shown(topic), partition, from, beginning: begin })
}
