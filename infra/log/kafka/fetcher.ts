import { setTimeout as sleep } from 'node:timers/promises'
import type { ReadRequest, ReadResult } from '../log.ts'
import type { Connection } from './connection.ts'
import { isTemporary, kindOf, told } from './errors.ts'
import type { Broker } from './kafkajs.ts'
import { PartitionBuffer } from './partition-buffer.ts'
import { addTo, throwIfGone } from './reader.ts'
import { type Fetched, fetch } from './records-protocol.ts'

/** Asked for of one partition at a time, and held of it at most twice that: what is not taken is not fetched. */
const PARTITION_BYTES = 1024 * 1024
const FETCH_BYTES = 8 * 1024 * 1024
/** How long the broker keeps a fetch that finds nothing. */
const WAIT_MS = 250
/** The same while a partition is left out because enough of it is held: it must not be kept waiting. */
const SHORT_WAIT_MS = 10
/** A broker that stays away for this long is told to whoever polls. */
const AWAY_MS = 20_000

/** Fetches ahead for a member, bounded in bytes by partition, one request at a time to each broker. */
export class Fetcher {
  readonly #connection: Connection
  readonly #arrived: () => void
  readonly #buffers = new Map<string, PartitionBuffer>()
  /** What a fetch found wrong with a partition, for whoever takes of it next. */
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

  /** As `GroupAccess.read`, of what is there already; fetching begins with the first call for a partition. */
  take({ topic, partition, from, max_bytes }: ReadRequest, at_least_one: boolean): ReadResult {
    if (this.#failure !== undefined) {
      const failure = this.#failure
      this.#failure = undefined
      this.#failing_since_ms = undefined
      throw failure
    }
    const place = `${topic}/${partition}`
    let buffer = this.#buffers.get(place)
    if (buffer === undefined || buffer.at !== from) {
      buffer = new PartitionBuffer(topic, partition, from, this.#connection.shown(topic))
      this.#buffers.set(place, buffer)
      this.#failures.delete(place)
    }
    const failure = this.#failures.get(place)
    // What came before it is good, and comes first.
    if (failure !== undefined && buffer.isEmpty) {
      this.#failures.delete(place)
      this.#buffers.delete(place)
      throw failure
    }
    const taken = buffer.take(max_bytes, at_least_one)
    this.#pump()
    return taken
  }

  /** Only these partitions from now on. */
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

  /** After all partitions of a poll have been asked for, so that one request brings them together. */
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
      // Beyond the end: what is there may come to it.
      await sleep(WAIT_MS)
    } catch (error) {
      this.#failures.set(`${buffer.topic}/${buffer.partition}`, error as Error)
    }
  }

  /** Tries again for a while; whoever polls meanwhile gets nothing. */
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
    return this.#buffers.get(`${buffer.topic}/${buffer.partition}`) === buffer
  }
}
