import {
  fencedClaim,
  fencedProducer,
  firstReplaced,
  groupHasMembers,
  offsetGone,
  topicMismatch,
  topicReplaced,
  unknownPartition,
  unknownTopic,
} from '../port/failure.ts'
import {
  EMPTY_GROUP,
  type Epochs,
  firstLost,
  type GroupState,
  hasLiveMembers,
  ownedBy,
  reading,
  renewed,
  without,
} from '../port/group.ts'
import {
  FencedError,
  type LogRecord,
  type NewRecord,
  type Position,
  type ReadRequest,
  type ReadResult,
  type Topic,
  TopicMismatchError,
  type TopicSpec,
  UnknownTopicError,
} from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import { type Appends, FencedProducerError, type Progress } from '../port/producer.ts'

interface MemoryTopic {
  readonly id: string
  readonly partitions: MemoryPartition[]
}

export interface MemoryPartition {
  begin: bigint
  end: bigint
  records: LogRecord[]
}

interface Commit {
  readonly id: string
  readonly epoch: number
  readonly appends: MemoryAppends
  readonly progress: Progress
  /** The leases' clock. Read after renewing them: a lease that ends over a session after `now_ms` counts as expired. */
  readonly now_ms: () => number
  readonly appended_ms: number
}

interface Entry {
  readonly group: string
  readonly member: string
  readonly topics: readonly string[]
  readonly partitions: number
  readonly session_timeout_ms: number
}

/** State shared by several memory handles, as several processes share a folder. Every method is one atomic step. */
export class MemoryBroker {
  /** Live handles; they renew their leases before any lease is checked, and are told when owners have changed. */
  readonly handles = new Set<{ renewLeases(): void; ownersChanged(group: string): void }>()
  readonly #name: string
  readonly #topics = new Map<string, MemoryTopic>()
  readonly #producers = new Map<string, number>()
  readonly #groups = new Map<string, GroupState>()
  readonly #positions = new Map<string, Map<string, Position>>()
  readonly #waiting = new Set<() => void>()
  #members = 0
  #made = 0

  /** @param name prefix of its topic ids; use equal names where runs should be identical, as in a simulation */
  constructor(name: string = crypto.randomUUID().slice(0, 8)) {
    this.#name = name
  }

  createTopics(topics: readonly TopicSpec[]): void {
    for (const { name, partitions } of topics) {
      const there = this.#topics.get(name)?.partitions.length ?? partitions
      if (there !== partitions) throw new TopicMismatchError(topicMismatch('memory:', name, partitions, there))
    }
    for (const { name, partitions } of topics) {
      if (this.#topics.has(name)) continue
      const empty = () => ({ begin: 0n, end: 0n, records: [] })
      this.#made += 1
      const id = `${this.#name}.${this.#made}`
      this.#topics.set(name, { id, partitions: Array.from({ length: partitions }, empty) })
    }
  }

  /** Deletes a topic as another program would; one created later under this name is a different topic. */
  deleteTopic(name: string): void {
    this.#topics.delete(name)
  }

  topics(): Topic[] {
    const found = [...this.#topics].map(([name, { id, partitions }]) => ({ name, partitions: partitions.length, id }))
    return found.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  topicId(topic: string): string {
    return this.#topic(topic).id
  }

  partitions(topic: string): MemoryPartition[] {
    return this.#topic(topic).partitions
  }

  #topic(topic: string): MemoryTopic {
    const found = this.#topics.get(topic)
    if (found === undefined) throw new UnknownTopicError(unknownTopic('memory:', topic))
    return found
  }

  partition(topic: string, partition: number): MemoryPartition {
    const partitions = this.partitions(topic)
    const found = partitions[partition]
    if (found === undefined) {
      throw new UnknownTopicError(unknownPartition('memory:', topic, partition, partitions.length))
    }
    return found
  }

  read(request: ReadRequest, at_least_one: boolean, sizeOf: (record: LogRecord) => number): ReadResult {
    const { topic, partition, from, max_bytes } = request
    const { begin, end, records } = this.partition(topic, partition)
    if (from < begin) throw offsetGone('memory:', { topic, partition, from, beginning: begin })
    const found: LogRecord[] = []
    let bytes = 0
    for (let i = firstFrom(records, from); i < records.length; i += 1) {
      const record = records[i] as LogRecord
      const size = sizeOf(record)
      if (bytes + size > max_bytes && !(at_least_one && found.length === 0)) {
        return { records: found, bytes, next: found.length === 0 ? from : record.offset }
      }
      bytes += size
      found.push({ ...record, value: record.value?.slice() ?? null })
    }
    const beyond_end = from > end
    return { records: found, bytes, next: beyond_end ? from : end }
  }

  deleteBefore(topic: string, partition: number, before: bigint): void {
    const found = this.partition(topic, partition)
    const begin = before > found.end ? found.end : before
    if (begin <= found.begin) return
    found.begin = begin
    found.records = found.records.slice(firstFrom(found.records, begin))
  }

  /** Opens a new epoch of this id and fences all earlier ones. */
  fence(id: string): number {
    const epoch = (this.#producers.get(id) ?? 0) + 1
    this.#producers.set(id, epoch)
    return epoch
  }

  commit(commit: Commit): void {
    this.renewLeases()
    const now_ms = commit.now_ms()
    if (this.#producers.get(commit.id) !== commit.epoch) throw new FencedProducerError(fencedProducer(commit.id))
    for (const { group, member, epochs } of commit.progress.claimed) {
      const lost = firstLost(this.#group(group), member, epochs)
      if (lost !== undefined) throw new FencedError(fencedClaim(group, member, lost))
    }
    for (const { group, positions } of commit.progress.claimed) {
      const replaced = firstReplaced(positions, (topic) => this.topicId(topic))
      if (replaced !== undefined) throw topicReplaced('memory:', group, replaced)
    }
    for (const { group, positions } of commit.progress.standalone) {
      if (positions.length > 0 && hasLiveMembers(this.#group(group), now_ms)) throw new Error(groupHasMembers(group))
    }
    commit.appends.write(commit.appended_ms)
    for (const { group, positions } of [...commit.progress.claimed, ...commit.progress.standalone]) {
      const committed = this.#positions.get(group) ?? new Map<string, Position>()
      for (const position of positions) committed.set(partitionName(position), { ...position })
      this.#positions.set(group, committed)
    }
    this.#wake()
  }

  /** An aborted transaction leaves a gap, as Kafka's do. */
  skip(appends: MemoryAppends): void {
    appends.skip()
  }

  /** A new member id. Counted, not random, so that the same joins always give the same owners. */
  nextMember(): string {
    this.#members += 1
    return `member-${this.#members}`
  }

  enter(entry: Entry, now_ms: number): void {
    const { group, member, topics, partitions, session_timeout_ms } = entry
    const before = reading(this.#group(group), group, member, topics, partitions, now_ms)
    this.#store(group, renewed(before, member, session_timeout_ms, now_ms))
  }

  renew(group: string, member: string, session_timeout_ms: number, now_ms: number): void {
    const state = this.#group(group)
    const lease = { until_ms: now_ms + session_timeout_ms, session_timeout_ms }
    if (state.members[member] === undefined) return
    this.#groups.set(group, { ...state, members: { ...state.members, [member]: lease } })
  }

  renewLeases(): void {
    for (const handle of this.handles) handle.renewLeases()
  }

  leave(group: string, member: string): void {
    this.#store(group, without(this.#group(group), member))
  }

  owned(group: string, member: string): Epochs {
    return ownedBy(this.#group(group), member)
  }

  start(group: string, topic: string, partition: number): Position {
    const committed = this.#positions.get(group)?.get(partitionName({ topic, partition }))
    return committed ?? { topic, partition, next: this.partition(topic, partition).begin }
  }

  committed(group: string): Position[] {
    const positions = [...(this.#positions.get(group)?.values() ?? [])]
    return positions.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
  }

  async changed(timeout: Promise<void>): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.add(resolve)
      void timeout.finally(() => {
        this.#waiting.delete(resolve)
        resolve()
      })
    })
  }

  #group(group: string): GroupState {
    return this.#groups.get(group) ?? EMPTY_GROUP
  }

  #store(group: string, state: GroupState): void {
    const moved = state.epoch !== this.#group(group).epoch
    this.#groups.set(group, state)
    if (!moved) return
    for (const handle of this.handles) handle.ownersChanged(group)
    this.#wake()
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}

/** An open transaction's records, by partition in the order of the calls. */
export class MemoryAppends implements Appends {
  readonly #broker: MemoryBroker
  readonly #pending: { topic: string; partition: number; record: NewRecord }[] = []

  constructor(broker: MemoryBroker) {
    this.#broker = broker
  }

  add(topic: string, partition: number, record: NewRecord): void {
    this.#broker.partition(topic, partition)
    const { key, headers, value } = record
    const copy = { key, headers: headers.map((header) => ({ ...header })), value: value?.slice() ?? null }
    this.#pending.push({ topic, partition, record: copy })
  }

  write(appended_ms: number): void {
    for (const { topic, partition, record } of this.#pending) {
      const into = this.#broker.partition(topic, partition)
      into.records.push({ ...record, topic, partition, offset: into.end, appended_ms })
      into.end += 1n
    }
    this.#leaveGap(1n)
  }

  skip(): void {
    this.#leaveGap(BigInt(this.#pending.length) + 1n)
  }

  #leaveGap(offsets: bigint): void {
    for (const into of new Set(this.#pending.map((p) => this.#broker.partition(p.topic, p.partition)))) {
      into.end += offsets
    }
  }
}

function firstFrom(records: readonly LogRecord[], from: bigint): number {
  let low = 0
  let high = records.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((records[middle] as LogRecord).offset < from) low = middle + 1
    else high = middle
  }
  return low
}
