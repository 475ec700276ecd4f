import assert from 'node:assert/strict'
import type { Claim, Log, LogRecord, Member, NewRecord, Position } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'

/** The steps that the cases are composed of. */

export function record(value: string, key: string | null = null): NewRecord {
  return { key, headers: [], value: Buffer.from(value) }
}

export function text(record: LogRecord): string {
  return Buffer.from(record.value ?? []).toString()
}

export function numbered(count: number, prefix = 'r'): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`)
}

let ids = 0
/** A name that no other case has used. */
export function fresh(prefix: string): string {
  ids += 1
  return `${prefix}-${process.pid}-${ids}`
}

export async function createTopic(log: Log, partitions: number): Promise<string> {
  const name = fresh('topic')
  await log.createTopics([{ name, partitions }])
  return name
}

/** One committed transaction. */
export async function append(log: Log, topic: string, partition: number, values: readonly string[]): Promise<void> {
  const producer = await log.producer({ transactional_id: fresh('append') })
  const transaction = producer.begin()
  for (const value of values) transaction.append(topic, partition, record(value))
  await transaction.commit()
  await producer.close()
}

/** All records from an offset to the current end. */
export async function readAll(
  log: Log,
  topic: string,
  partition: number,
  from?: bigint,
  max_bytes = 1e6,
): Promise<LogRecord[]> {
  const end = (await log.endOffsets(topic))[partition] as bigint
  let next = from ?? ((await log.beginningOffsets(topic))[partition] as bigint)
  const records: LogRecord[] = []
  for (let empty = 0; next < end; ) {
    const read = await log.read({ topic, partition, from: next, max_bytes })
    empty = read.next === next ? empty + 1 : 0
    assert(empty < 100, `reading ${topic} partition ${partition} stands still at ${next}, end ${end}`)
    records.push(...read.records)
    next = read.next
  }
  return records
}

export async function values(log: Log, topic: string, partition: number): Promise<string[]> {
  return (await readAll(log, topic, partition)).map(text)
}

/** A member and the results of its polls so far. */
export class Follower {
  readonly member: Member
  readonly records: LogRecord[] = []
  readonly owned = new Set<number>()
  readonly gains: number[] = []
  readonly losses: number[] = []
  claim: Claim | undefined
  /** The next position of each partition. */
  readonly next = new Map<string, Position>()

  constructor(member: Member) {
    this.member = member
  }

  static async join(log: Log, group: string, topics: readonly string[], session_timeout_ms: number): Promise<Follower> {
    return new Follower(await log.join({ group, topics, session_timeout_ms }))
  }

  async poll(wait_ms = 20, max_bytes = 1e6): Promise<readonly LogRecord[]> {
    const polled = await this.member.poll({ max_bytes, wait_ms })
    for (const partition of polled.lost) {
      assert(this.owned.delete(partition), `partition ${partition} reported lost, but it was not owned`)
    }
    for (const partition of polled.gained) this.owned.add(partition)
    for (const one of polled.records) {
      assert(this.owned.has(one.partition), `a record of partition ${one.partition}, which is not owned`)
      assert(!polled.gained.includes(one.partition), `a record of ${one.partition} in the poll that reports its gain`)
    }
    this.gains.push(...polled.gained)
    this.losses.push(...polled.lost)
    this.records.push(...polled.records)
    this.claim = polled.claim
    for (const position of polled.positions) this.next.set(partitionName(position), position)
    return polled.records
  }

  get held(): number[] {
    return [...this.owned].sort((a, b) => a - b)
  }

  /** Commits this follower's positions in these partitions under its last claim, with an output if one is given. */
  async commit(log: Log, partitions: readonly number[], output?: { topic: string; value: string }): Promise<void> {
    assert(this.claim !== undefined, 'commit before the first poll')
    const producer = await log.producer({ transactional_id: fresh('commit') })
    const transaction = producer.begin()
    if (output !== undefined) transaction.append(output.topic, 0, record(output.value))
    const positions = [...this.next.values()].filter((position) => partitions.includes(position.partition))
    transaction.positions(this.claim, positions)
    await transaction.commit()
  }

  get texts(): string[] {
    return this.records.map(text)
  }
}

/** Polls all in turn until `done`; a poll without a result waits 20 ms, by the driver's clock. */
export async function until(followers: readonly Follower[], done: () => boolean, what: string): Promise<void> {
  for (let round = 0; !done(); round += 1) {
    assert(round < 1_000, `expected ${what} within 1,000 polls`)
    for (const follower of followers) await follower.poll(20)
  }
}

/** Polls until every partition has exactly one owner among these, and counts differ by at most one. */
export async function untilBalanced(followers: readonly Follower[], partitions: number): Promise<void> {
  const all = Array.from({ length: partitions }, (_, i) => i)
  const balanced = () => {
    const held = followers.flatMap((follower) => follower.held).sort((a, b) => a - b)
    const counts = followers.map((follower) => follower.held.length)
    return held.join() === all.join() && Math.max(...counts) - Math.min(...counts) <= 1
  }
  await until(followers, balanced, `${partitions} partitions over ${followers.length} members, each with one owner`)
}

export async function rejectsWith(kind: new (...args: never[]) => Error, act: () => Promise<unknown>): Promise<void> {
  try {
    await act()
  } catch (error) {
    assert(error instanceof kind, `expected ${kind.name}, got ${error}`)
    return
  }
  assert.fail(`expected ${kind.name}, but it succeeded`)
}
