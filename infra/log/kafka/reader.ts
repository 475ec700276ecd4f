import { offsetGone } from '../port/failure.ts'
import type { ReadRequest, ReadResult } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import type { Connection } from './connection.ts'
import { offsetsOf } from './offsets.ts'
import { PartitionBuffer } from './partition-buffer.ts'
import { type Fetched, fetch } from './records-protocol.ts'

/** Smallest request: a smaller fetch would return a whole batch all the same. */
const LEAST_FETCH_BYTES = 64 * 1024
const MOST_FETCH_BYTES = 8 * 1024 * 1024
/** Number of partitions for which the rest of a fetch is cached for the next read. */
const KEPT = 16

/** Reads without a group, from any offset. */
export class Reader {
  readonly #connection: Connection
  /** By place; the most recently used one is last. */
  readonly #rest = new Map<string, PartitionBuffer>()

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async read({ topic, partition, from, max_bytes }: ReadRequest): Promise<ReadResult> {
    const place = partitionName({ topic, partition })
    const rest = this.#rest.get(place)
    this.#rest.delete(place)
    const buffer =
      rest?.at === from && !rest.isEmpty
        ? rest
        : new PartitionBuffer(topic, partition, from, this.#connection.shown(topic))
    if (buffer.isEmpty && !(await this.#fetch(buffer, max_bytes))) return { records: [], bytes: 0, next: from }
    const taken = takeFrom(buffer, this.#connection, max_bytes, true)
    if (!buffer.isEmpty) this.#keep(place, buffer)
    return taken
  }

  /** Drops the cached records of a partition, because some of them have been deleted. */
  forget(topic: string, partition: number): void {
    this.#rest.delete(partitionName({ topic, partition }))
  }

  #keep(place: string, buffer: PartitionBuffer): void {
    this.#rest.set(place, buffer)
    for (const oldest of this.#rest.keys()) {
      if (this.#rest.size <= KEPT) return
      this.#rest.delete(oldest)
    }
  }

  /** @returns whether the buffer may contain records now */
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

/** @throws Error naming the place when a batch is damaged or has an unsupported format. */
export function addTo(buffer: PartitionBuffer, fetched: Fetched, connection: Connection): void {
  placed(buffer, buffer.fetch_from, connection, () => buffer.add(fetched))
}

/**
 * As `PartitionBuffer.take`.
 * @throws Error naming the place when a batch does not contain valid records. Discard the buffer then: records that
 * this call had already taken from it are lost.
 */
export function takeFrom(
  buffer: PartitionBuffer,
  connection: Connection,
  max_bytes: number,
  at_least_one: boolean,
): ReadResult {
  return placed(buffer, buffer.at, connection, () => buffer.take(max_bytes, at_least_one))
}

function placed<T>({ topic, partition }: PartitionBuffer, from: bigint, connection: Connection, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    const place = `${connection.address.text} topic ${connection.shown(topic)} partition ${partition} from offset ${from}`
    throw new Error(`${place}: ${(cause as Error).message}`, { cause })
  }
}

/** An offset out of the broker's range was either removed or is beyond the end. @throws OffsetGoneError if removed. */
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
