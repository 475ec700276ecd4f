import { setTimeout as sleep } from 'node:timers/promises'
import type { ReadRequest, ReadResult } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import type { Connection } from './connection.ts'
import { isTemporary, kindOf, told } from './errors.ts'
import type { Broker } from './kafkajs.ts'
import { PartitionBuffer } from './partition-buffer.ts'
import { addTo, takeFrom, throwIfGone } from './reader.ts'
import { type Fetched, fetch } from './records-protocol.ts'

/** Limit of one fetch per partition. A buffer that has reached it is not refilled, so it has at most twice this. */
const PARTITION_BYTES = 1024 * 1024
const FETCH_BYTES = 8 * 1024 * 1024
/** How long the broker may hold back a fetch that finds nothing. */
const WAIT_MS = 250
/** The same while a partition with a full buffer is left out: it must not wait long once its buffer has room. */
const SHORT_WAIT_MS = 10
/** A broker that is unreachable for this long is reported to the polling caller. */
const AWAY_MS = 20_000

/** Prefetches for a member: bounded in bytes per partition, one request at a time to each broker. */
export class Fetcher {
  readonly #connection: Connection
  readonly #arrived: () => void
  readonly #buffers = new Map<string, PartitionBuffer>()
  /** A partition's fetch error, thrown by the next `take` of that partition. */
  readonly #failures = new Map<string, Error>()
  readonly #busy = new Set<number>()
  #failing_since_ms: number | undefined
  #failure: Error | undefined
  #due = false
  #closed = false

  constructor(connection: Connection, arrived: () => void) {
    this.#connection = connection
    this.#arrived = arrived
  }

  /** As `GroupAccess.read`, from the buffer only. The first call for a partition starts fetching it. */
  take({ topic, partition, from, max_bytes }: ReadRequest, at_least_one: boolean): ReadResult {
    if (this.#failure !== undefined) {
      const failure = this.#failure
      this.#failure = undefined
      this.#failing_since_ms = undefined
      throw failure
    }
    const place = partitionName({ topic, partition })
    let buffer = this.#buffers.get(place)
    if (buffer === undefined || buffer.at !== from) {
      buffer = new PartitionBuffer(topic, partition, from, this.#connection.shown(topic))
      this.#buffers.set(place, buffer)
      this.#failures.delete(place)
    }
    const failure = this.#failures.get(place)
    // Records fetched before the failure are valid: deliver them first.
    if (failure !== undefined && buffer.isEmpty) {
      this.#failures.delete(place)
      this.#buffers.delete(place)
      throw failure
    }
    try {
      return takeFrom(buffer, this.#connection, max_bytes, at_least_one)
    } catch (error) {
      this.#buffers.delete(place)
      throw error
    } finally {
      this.#pump()
    }
  }

  /** Drops the buffers of all other partitions. */
  keep(partitions: ReadonlyMap<number, unknown>): void {
    for (const [place, { partition }] of this.#buffers) {
      if (partitions.has(partition)) continue
      this.#buffers.delete(place)
      this.#failures.delete(place)
    }
  }

  close(): void {
    this.#closed = true
    this.#buffers.clear()
  }

  /** Starts fetching after the current poll has asked for all its partitions, so that one request covers them. */
  #pump(): void {
    if (this.#closed || this.#due) return
    this.#due = true
    setImmediate(() => {
      this.#due = false
      void this.#fetchAll().catch((error: unknown) => this.#failed(error))
    })
  }

  async #fetchAll(): Promise<void> {
    const byLeader = new Map<number, PartitionBuffer[]>()
    for (const buffer of [...this.#buffers.values()]) {
      const leader = (await this.#connection.leaders(buffer.topic))[buffer.partition] ?? -1
      const buffers = byLeader.get(leader)
      if (buffers === undefined) byLeader.set(leader, [buffer])
      else buffers.push(buffer)
    }
    for (const [leader, buffers] of byLeader) {
      const open = buffers.filter((buffer) => buffer.bytes < PARTITION_BYTES && this.#isCurrent(buffer))
      if (this.#busy.has(leader) || open.length === 0 || this.#closed) continue
      this.#busy.add(leader)
      void this.#fetchFrom(leader, open, open.length < buffers.length)
    }
  }

  async #fetchFrom(leader: number, buffers: readonly PartitionBuffer[], some_are_full: boolean): Promise<void> {
    try {
      const first = buffers[0] as PartitionBuffer
      const broker: Broker = await this.#connection.leader(first.topic, first.partition)
      const answered = await fetch(
        broker,
        buffers.map(({ topic, partition, fetch_from }) => ({
          topic,
          partition,
          from: fetch_from,
          max_bytes: PARTITION_BYTES,
        })),
        { wait_ms: some_are_full ? SHORT_WAIT_MS : WAIT_MS, max_bytes: FETCH_BYTES },
      )
      for (const fetched of answered) {
        const buffer = buffers.find(
          ({ topic, partition }) => topic === fetched.topic && partition === fetched.partition,
        )
        if (buffer !== undefined && this.#isCurrent(buffer)) await this.#arrive(buffer, fetched)
      }
      this.#failing_since_ms = undefined
      this.#busy.delete(leader)
      this.#arrived()
      this.#pump()
    } catch (error) {
      this.#busy.delete(leader)
      await this.#failed(error)
    }
  }

  async #arrive(buffer: PartitionBuffer, fetched: Fetched): Promise<void> {
    if (fetched.error === undefined) return addTo(buffer, fetched, this.#connection)
    if (fetched.error.type !== 'OFFSET_OUT_OF_RANGE') throw fetched.error
    try {
      await throwIfGone(this.#connection, buffer.topic, buffer.partition, buffer.fetch_from)
      // The offset is beyond the end: wait, since the partition may still grow to it.
      await sleep(WAIT_MS)
    } catch (error) {
      this.#failures.set(partitionName(buffer), error as Error)
    }
  }

  /** Retries for a while; meanwhile polls return only buffered records. */
  async #failed(error: unknown): Promise<void> {
    if (this.#closed) return
    const now_ms = performance.now()
    this.#failing_since_ms ??= now_ms
    const tried_ms = now_ms - this.#failing_since_ms
    if (!isTemporary(kindOf(error)) || tried_ms > AWAY_MS) {
      this.#failure = told(this.#connection.address.text, 'fetching', error, tried_ms)
      this.#arrived()
      return
    }
    await this.#connection.forget(error)
    await sleep(Math.min(500, 20 + tried_ms / 4))
    this.#pump()
  }

  #isCurrent(buffer: PartitionBuffer): boolean {
    return this.#buffers.get(partitionName(buffer)) === buffer
  }
}
