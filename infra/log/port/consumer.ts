import { notOwned } from './failure.ts'
import type { Epochs } from './group.ts'
import {
  type Claim,
  FencedError,
  type LogRecord,
  type Member,
  type Polled,
  type Position,
  type ReadRequest,
  type ReadResult,
} from './log.ts'
import { partitionName } from './partition-name.ts'
import { ReadTimes } from './read-times.ts'
import { seenAfter } from './seen.ts'

/** A member's read. It names the topic by the id that it had when the partition was gained. */
export interface GroupRead extends ReadRequest {
  /** Empty when the log has no topic ids. */
  readonly topic_id: string
}

/** What a member needs from a driver that keeps group states itself. */
export interface GroupAccess {
  /** The partitions that the member owns now. A member that was removed as dead joins again. */
  owned(): Promise<Epochs>
  /** The partitions that the member owns, as far as this process knows; without a request. */
  owns(): Epochs
  /** The ids of the group's topics now. */
  ids(): Promise<ReadonlyMap<string, string>>
  /** Committed position, or the beginning. */
  start(topic: string, partition: number): Promise<Position>
  /**
   * As `Log.read`, but when not even one record fits: that one record if `at_least_one`, else none.
   * @throws TopicReplacedError when the driver sees, without a further request, that the topic was recreated.
   */
  read(request: GroupRead, at_least_one: boolean): ReadResult | Promise<ReadResult>
  /** Resolves when there may be something new, or after `wait_ms`. */
  changed(wait_ms: number): Promise<void>
  /** Whether the poll should return at once, so that the caller can commit. */
  interrupts?(): boolean
  now_ms(): number
  leave(): Promise<void>
}

/** The claim of drivers that keep group states themselves. */
export class EpochClaim implements Claim {
  readonly group: string
  readonly member: string
  readonly epochs: Epochs

  constructor(group: string, member: string, epochs: Epochs) {
    this.group = group
    this.member = member
    this.epochs = epochs
  }

  get partitions(): readonly number[] {
    return [...this.epochs.keys()]
  }
}

interface Taken {
  readonly records: readonly LogRecord[]
  readonly positions: readonly Position[]
}

/** The polling side of a member; the same for every driver that keeps group states itself. */
export class Consumer implements Member {
  readonly id: string
  readonly #group: string
  readonly #topics: readonly string[]
  readonly #access: GroupAccess
  /** What the last poll reported. */
  #owned: Epochs = new Map()
  /** For each of them, whether it still is. */
  readonly #ownership = new Map<number, AbortController>()
  /** Ids of the topics, at the last gain. */
  #ids: ReadonlyMap<string, string> = new Map()
  readonly #positions = new Map<string, Position>()
  /** By partition: the topics that are paused in it. */
  readonly #paused = new Map<number, ReadonlySet<string>>()
  readonly #times: ReadTimes
  #turn = 0
  #left = false

  constructor(id: string, group: string, topics: readonly string[], access: GroupAccess) {
    this.id = id
    this.#group = group
    this.#topics = topics
    this.#times = new ReadTimes(topics)
    this.#access = access
  }

  async poll(options: { readonly max_bytes: number; readonly wait_ms: number }): Promise<Polled> {
    const deadline_ms = this.#access.now_ms() + options.wait_ms
    for (;;) {
      if (this.#left) throw new Error(`member ${this.id} of group ${this.#group} has left: join again to poll.`)
      const owned = await this.#access.owned()
      const gained = [...owned.keys()].filter((p) => this.#owned.get(p) !== owned.get(p))
      const lost = [...this.#owned.keys()].filter((p) => this.#owned.get(p) !== owned.get(p))
      if (gained.length > 0 || lost.length > 0) return await this.#rebalanced(owned, gained, lost)
      const { records, positions } = await this.#next(options.max_bytes)
      const wait_ms = deadline_ms - this.#access.now_ms()
      // Return positions without records too: once they are committed, the gaps they passed no longer count as lag.
      if (records.length > 0 || positions.length > 0 || wait_ms <= 0 || this.#access.interrupts?.()) {
        const claim = new EpochClaim(this.#group, this.id, owned)
        return { records, claim, gained: [], lost: [], positions }
      }
      await this.#access.changed(wait_ms)
    }
  }

  async #rebalanced(owned: Epochs, gained: readonly number[], lost: readonly number[]): Promise<Polled> {
    const starts: Position[] = []
    // Before the positions: if a topic is recreated in between, the next poll detects it.
    if (gained.length > 0) this.#ids = await this.#access.ids()
    for (const topic of this.#topics) {
      for (const partition of gained) starts.push(await this.#access.start(topic, partition))
    }
    for (const partition of [...lost, ...gained]) this.#times.forget(partition)
    for (const partition of lost) {
      this.#paused.delete(partition)
      for (const topic of this.#topics) this.#positions.delete(partitionName({ topic, partition }))
    }
    for (const start of starts) this.#positions.set(partitionName(start), start)
    for (const partition of lost) this.#end(partition)
    for (const partition of gained) this.#ownership.set(partition, new AbortController())
    this.#owned = owned
    // It may have changed again meanwhile.
    this.compareOwnership()
    return { records: [], claim: new EpochClaim(this.#group, this.id, owned), gained, lost, positions: [] }
  }

  /**
   * Each partition may fill its share of the remaining bytes; a different one is first at every poll. Within a
   * partition, a topic that is ahead of another waits for it, unless there is nothing else to read.
   */
  async #next(max_bytes: number): Promise<Taken> {
    const open = [...this.#positions.values()].filter(
      ({ topic, partition }) => !this.#paused.get(partition)?.has(topic),
    )
    const ahead = new Set(open.filter((position) => this.#times.isAhead(position)))
    const due = open.filter((position) => !ahead.has(position))
    const taken = await this.#take(due, max_bytes)
    this.#turn += 1
    return taken.positions.length > 0 || ahead.size === 0 ? taken : await this.#take([...ahead], max_bytes)
  }

  async #take(open: readonly Position[], max_bytes: number): Promise<Taken> {
    const records: LogRecord[] = []
    const positions: Position[] = []
    let left_bytes = max_bytes
    for (let i = 0; i < open.length && (left_bytes > 0 || records.length === 0); i += 1) {
      const at = open[(this.#turn + i) % open.length] as Position
      const share = Math.floor(left_bytes / (open.length - i))
      const { topic, partition } = at
      const topic_id = this.#ids.get(topic) ?? ''
      const request = { topic, partition, from: at.next, max_bytes: share, topic_id }
      const { records: more, bytes, next } = await this.#access.read(request, records.length === 0)
      this.#times.note(at, next > at.next, more.at(-1)?.appended_ms)
      if (next === at.next) continue
      for (const record of more) records.push(record)
      left_bytes -= bytes
      positions.push({ topic, partition, next, seen: seenAfter(at, topic_id, more.at(-1)) })
    }
    for (const position of positions) this.#positions.set(partitionName(position), position)
    return { records, positions }
  }

  seek(positions: readonly Position[]): void {
    for (const position of positions) {
      if (!this.#positions.has(partitionName(position))) {
        throw new Error(
          `group ${this.#group}: expected a seek within the owned partitions of ${this.#topics.join(', ')}, ` +
            `got ${position.topic} partition ${position.partition}.`,
        )
      }
    }
    for (const position of positions) {
      this.#positions.set(partitionName(position), { ...position })
      this.#times.forget(position.partition)
    }
  }

  ownership(partition: number): AbortSignal {
    return this.#ownership.get(partition)?.signal ?? AbortSignal.abort(this.#lost(partition))
  }

  /** The driver calls it when the member's partitions may have changed, also between polls. */
  compareOwnership(): void {
    const owned = this.#access.owns()
    for (const [partition, epoch] of this.#owned) if (owned.get(partition) !== epoch) this.#end(partition)
  }

  #end(partition: number): void {
    this.#ownership.get(partition)?.abort(this.#lost(partition))
  }

  #lost(partition: number): FencedError {
    return new FencedError(notOwned(this.#group, this.id, partition))
  }

  pause(partitions: readonly number[], topics: readonly string[] = this.#topics): void {
    for (const partition of partitions) {
      if (!this.#owned.has(partition)) continue
      this.#paused.set(partition, new Set([...(this.#paused.get(partition) ?? []), ...topics]))
    }
  }

  resume(partitions: readonly number[]): void {
    for (const partition of partitions) this.#paused.delete(partition)
  }

  async leave(): Promise<void> {
    if (this.#left) return
    this.#left = true
    for (const partition of this.#owned.keys()) this.#end(partition)
    await this.#access.leave()
  }
}

/** The size that `max_bytes` limits: key, headers and value. Text counts by its length: its bytes if it is ASCII. */
export function sizeOf(record: {
  key: string | null
  headers: LogRecord['headers']
  value: Uint8Array | null
}): number {
  let bytes = (record.key?.length ?? 0) + (record.value?.byteLength ?? 0)
  for (const header of record.headers) bytes += header.name.length + header.value.length
  return bytes
}

export function sizeOfAll(records: readonly LogRecord[]): number {
  let bytes = 0
  for (const record of records) bytes += sizeOf(record)
  return bytes
}
