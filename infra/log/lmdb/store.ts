import {
  fencedClaim,
  fencedProducer,
  firstReplaced,
  groupHasMembers,
  topicMismatch,
  topicReplaced,
  unequalTopics,
  unknownPartition,
  unknownTopic,
} from '../port/failure.ts'
import { EMPTY_GROUP, firstLost, type GroupState, hasLiveMembers, reading, renewed, without } from '../port/group.ts'
import { FencedError, TopicMismatchError, type TopicSpec, UnknownTopicError } from '../port/log.ts'
import { FencedProducerError } from '../port/producer.ts'
import { sealChunk } from './checksum.ts'
import type { Commit, Renewal, Request } from './request.ts'
import {
  type CatalogKey,
  chunkKey,
  groupState,
  leaseClock_ms,
  logId,
  positionRow,
  type Tables,
  type TopicRow,
  topicId,
  topicRow,
} from './tables.ts'

/** How many chunks one transaction of retention deletes, so that other writers do not wait long for the lock. */
const TRIM_CHUNKS = 256

/**
 * The log's writes. Each runs inside one LMDB write transaction, and several may share one: a request is refused only
 * before its first put. An error after that (`half_done`) must abort the whole transaction.
 */
export class Store {
  readonly #tables: Tables
  readonly #address: string
  half_done = false

  constructor(tables: Tables, address: string) {
    this.#tables = tables
    this.#address = address
  }

  apply(request: Request): unknown {
    this.half_done = false
    const value = this.#apply(request)
    this.half_done = false
    return value
  }

  #apply(request: Request): unknown {
    switch (request.kind) {
      case 'createTopics':
        return this.#createTopics(request.topics)
      case 'fence':
        return this.#fence(request.transactional_id)
      case 'commit':
        return this.#commit(request)
      case 'renew':
        return this.#renew(request)
      case 'leave':
        return this.#putGroup(request.group, without(this.#group(request.group), request.member))
      case 'trim':
        return this.#trim(request.topic, request.partition, request.before)
    }
  }

  #createTopics(topics: readonly TopicSpec[]): void {
    for (const { name, partitions } of topics) {
      const there = topicRow(this.#tables, name)?.ends.length ?? partitions
      if (there !== partitions) throw new TopicMismatchError(topicMismatch(this.#address, name, partitions, there))
    }
    let id = (this.#tables.catalog.get(['topics']) as number | undefined) ?? 0
    for (const { name, partitions } of topics) {
      if (topicRow(this.#tables, name) !== undefined) continue
      id += 1
      const zeros = Array.from({ length: partitions }, () => 0)
      this.#putTopic(name, { id, begins: zeros, ends: zeros })
    }
    this.#put(['topics'], id)
  }

  #fence(transactional_id: string): number {
    const epoch = this.#producerEpoch(transactional_id) + 1
    this.#put(['producer', transactional_id], epoch)
    return epoch
  }

  #commit(commit: Commit): void {
    const { transactional_id, epoch, appends, progress } = commit
    if (this.#producerEpoch(transactional_id) !== epoch) throw new FencedProducerError(fencedProducer(transactional_id))
    for (const { group, member, epochs } of progress.claimed) {
      const lost = firstLost(this.#group(group), member, epochs)
      if (lost !== undefined) throw new FencedError(fencedClaim(group, member, lost))
    }
    this.#refuseReplaced(progress.claimed)
    const now_ms = leaseClock_ms()
    for (const { group, positions } of progress.standalone) {
      if (positions.length > 0 && hasLiveMembers(this.#group(group), now_ms)) throw new Error(groupHasMembers(group))
    }
    const topics = new Map<string, { row: TopicRow; ends: number[] }>()
    for (const { topic, partition } of appends) {
      const row = topics.get(topic)?.row ?? this.#topic(topic, partition)
      topics.set(topic, { row, ends: [...row.ends] })
      if (row.ends[partition] === undefined) this.#topic(topic, partition)
    }
    const appended_ms = Date.now()
    for (const { topic, partition, chunks } of appends) {
      const { row, ends } = topics.get(topic) as { row: TopicRow; ends: number[] }
      for (const { count, bytes } of chunks) {
        const first = ends[partition] as number
        const key = chunkKey(row.id, partition, first)
        sealChunk(bytes, key, appended_ms)
        this.half_done = true
        this.#tables.chunks.putSync(key, bytes as Buffer)
        ends[partition] = first + count
      }
    }
    for (const [name, { row, ends }] of topics) this.#putTopic(name, { ...row, ends })
    for (const { group, positions } of [...progress.claimed, ...progress.standalone]) {
      for (const position of positions) {
        this.#put(['position', group, position.topic, position.partition], positionRow(position))
      }
    }
  }

  #refuseReplaced(claimed: Commit['progress']['claimed']): void {
    const log_id = logId(this.#tables)
    const ids = new Map<string, string>()
    const idOf = (topic: string) => {
      const row = ids.has(topic) ? undefined : topicRow(this.#tables, topic)
      if (row !== undefined) ids.set(topic, topicId(log_id, row))
      return ids.get(topic)
    }
    for (const { group, positions } of claimed) {
      const replaced = firstReplaced(positions, idOf)
      if (replaced !== undefined) throw topicReplaced(this.#address, group, replaced)
    }
  }

  #renew(renewal: Renewal): void {
    const { group, member, topics, session_timeout_ms } = renewal
    const now_ms = leaseClock_ms()
    const counts = topics.map((topic) => this.#topic(topic, 0).ends.length)
    const partitions = counts[0] ?? 0
    if (counts.some((count) => count !== partitions)) throw new TopicMismatchError(unequalTopics(group, topics, counts))
    const state = reading(this.#group(group), group, member, topics, partitions, now_ms)
    this.#putGroup(group, renewed(state, member, session_timeout_ms, now_ms))
  }

  /** One bounded step; true when nothing is left to delete. */
  #trim(topic: string, partition: number, before: number): boolean {
    const row = this.#topic(topic, partition)
    const begin = Math.min(before, row.ends[partition] as number)
    if (begin > (row.begins[partition] as number)) {
      this.#putTopic(topic, { ...row, begins: row.begins.with(partition, begin) })
    }
    const range = { start: chunkKey(row.id, partition, 0), end: chunkKey(row.id, partition, begin) }
    const keys = [...this.#tables.chunks.getKeys({ ...range, limit: TRIM_CHUNKS + 1 })].map((key) => Buffer.from(key))
    const last = keys.pop()
    // A chunk ends where the next one begins. Its own record count may be damaged, so no deletion relies on that.
    const ended = begin === row.ends[partition] || this.#tables.chunks.doesExist(chunkKey(row.id, partition, begin))
    this.half_done = true
    for (const key of keys) this.#tables.chunks.removeSync(key)
    if (keys.length === TRIM_CHUNKS) return false
    if (last !== undefined && ended) this.#tables.chunks.removeSync(last)
    return true
  }

  #topic(name: string, partition: number): TopicRow {
    const row = topicRow(this.#tables, name)
    if (row === undefined) throw new UnknownTopicError(unknownTopic(this.#address, name))
    if (row.ends[partition] === undefined) {
      throw new UnknownTopicError(unknownPartition(this.#address, name, partition, row.ends.length))
    }
    return row
  }

  #put(key: CatalogKey, value: unknown): void {
    this.half_done = true
    this.#tables.catalog.putSync(key, value)
  }

  #putTopic(name: string, row: TopicRow): void {
    this.#put(['topic', name], row)
  }

  #group(group: string): GroupState {
    return groupState(this.#tables, group) ?? EMPTY_GROUP
  }

  #putGroup(group: string, state: GroupState): void {
    this.#put(['group', group], state)
  }

  #producerEpoch(transactional_id: string): number {
    return (this.#tables.catalog.get(['producer', transactional_id]) as number | undefined) ?? 0
  }
}
