import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { MemoryBroker } from '../../infra/log/memory/broker.ts'
import type { MemoryLog } from '../../infra/log/memory/memory-log.ts'
import {
  type Claim,
  FencedError,
  type JoinOptions,
  type Log,
  LogFullError,
  type Member,
  type NewRecord,
  type Polled,
  type Position,
  type Producer,
  type ReadRequest,
  type ReadResult,
  type Topic,
  type TopicSpec,
  type Transaction,
} from '../../infra/log/port/log.ts'
import type { Actor } from './actor.ts'
import type { FaultKind } from './fault-kinds.ts'
import type { Scheduler } from './scheduler.ts'

/** One transaction as its caller has built it. */
export interface Written {
  readonly appends: { readonly topic: string; readonly partition: number; readonly record: NewRecord }[]
  readonly positions: { readonly claim: Claim; readonly positions: readonly Position[] }[]
  /** A source’s, which have no claim. No planted bug is about them. */
  readonly standalone?: { readonly group: string; readonly positions: readonly Position[] }[]
}

/** How a simulated log treats commits, polls and blobs: correctly, or with a planted bug. */
export interface Conduct {
  commit(producer: Producer, written: Written, pause: (what: string) => Promise<void>): Promise<void>
  polled(polled: Polled): Polled
  /** The store from which a worker reads its blobs. */
  blobs(store: Blobs): Blobs
}

export const RIGHT: Conduct = {
  async commit(producer, written) {
    await commitWhole(producer, written)
  },
  polled: (polled) => polled,
  blobs: (store) => store,
}

export async function commitWhole(producer: Producer, { appends, positions, standalone = [] }: Written): Promise<void> {
  const transaction = producer.begin()
  for (const { topic, partition, record } of appends) transaction.append(topic, partition, record)
  for (const made of positions) transaction.positions(made.claim, made.positions)
  for (const made of standalone) transaction.standalonePositions(made.group, made.positions)
  await transaction.commit()
}

/**
 * A handle of one simulated process on the in-memory log. Every call waits for its turn, so that anything may happen to
 * any process in between. A call may fail where a real log may fail.
 */
export class SimulatedLog implements Log {
  readonly address = 'simulated:'
  readonly #inner: MemoryLog
  readonly #broker: MemoryBroker
  readonly #owner: Actor
  readonly #scheduler: Scheduler
  readonly #conduct: Conduct
  readonly #onPolled: (member: Member, polled: Polled) => void
  readonly #late: (arrive: () => void) => void

  constructor(options: {
    readonly inner: MemoryLog
    readonly broker: MemoryBroker
    readonly owner: Actor
    readonly scheduler: Scheduler
    readonly conduct: Conduct
    readonly onPolled: (member: Member, polled: Polled) => void
    /** Runs something later, even if its process is dead by then. */
    readonly late: (arrive: () => void) => void
  }) {
    this.#inner = options.inner
    this.#broker = options.broker
    this.#owner = options.owner
    this.#scheduler = options.scheduler
    this.#conduct = options.conduct
    this.#onPolled = options.onPolled
    this.#late = options.late
  }

  createTopics(topics: readonly TopicSpec[]): Promise<void> {
    return this.#call('createTopics', () => this.#inner.createTopics(topics))
  }
  topics(names?: readonly string[]): Promise<readonly Topic[]> {
    return this.#call('topics', () => this.#inner.topics(names))
  }
  beginningOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#call(`beginningOffsets ${topic}`, () => this.#inner.beginningOffsets(topic))
  }
  endOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#call(`endOffsets ${topic}`, () => this.#inner.endOffsets(topic), true)
  }
  read(request: ReadRequest): Promise<ReadResult> {
    const { topic, partition, from } = request
    return this.#call(`read ${topic}/${partition} from ${from}`, () => this.#inner.read(request))
  }
  deleteBefore(topic: string, partition: number, before: bigint): Promise<void> {
    return this.#call(`deleteBefore ${topic}/${partition}`, () => this.#inner.deleteBefore(topic, partition, before))
  }
  committed(group: string): Promise<readonly Position[]> {
    return this.#call(`committed ${group}`, () => this.#inner.committed(group))
  }
  async close(): Promise<void> {
    await this.#scheduler.turn(this.#owner, 'close')
    await this.#inner.close()
  }

  async producer(options: { readonly transactional_id: string }): Promise<Producer> {
    const producer = await this.#call(`producer ${options.transactional_id}`, () => this.#inner.producer(options))
    return {
      begin: () => this.#begin(producer),
      // An open transaction can only be a late commit, which the caller no longer waits for.
      close: async () => {},
    }
  }

  async join(options: JoinOptions): Promise<Member> {
    const member = await this.#call(`join ${options.group}`, () => this.#inner.join(options))
    return {
      id: member.id,
      poll: (how) => this.#poll(member, options.topics, how),
      seek: (positions) => member.seek(positions),
      ownership: (partition) => member.ownership(partition),
      pause: (partitions) => member.pause(partitions),
      resume: (partitions) => member.resume(partitions),
      leave: async () => {
        await this.#scheduler.turn(this.#owner, 'leave')
        await member.leave()
      },
    }
  }

  /** Waits as the log's own poll does, but by turns: its turn comes early when a partition's end has moved. */
  async #poll(
    member: Member,
    topics: readonly string[],
    { max_bytes, wait_ms }: { readonly max_bytes: number; readonly wait_ms: number },
  ): Promise<Polled> {
    const { time } = this.#scheduler
    const deadline_ms = time.now_ms + wait_ms
    const partitions = topics.flatMap((topic) => this.#broker.partitions(topic))
    for (let until_ms = 0; ; until_ms = deadline_ms) {
      const ends = partitions.map(({ end }) => end)
      const ready = () => partitions.some(({ end }, at) => end !== ends[at])
      const fault = await this.#scheduler.turn(this.#owner, 'poll', { may_fail: true, until_ms, ready })
      this.#fail(fault, 'poll')
      const polled = this.#conduct.polled(await member.poll({ max_bytes, wait_ms: 0 }))
      this.#onPolled(member, polled)
      const { records, gained, lost, positions } = polled
      const news = records.length + gained.length + lost.length + positions.length > 0
      if (news || time.now_ms >= deadline_ms) return polled
    }
  }

  #begin(producer: Producer): Transaction {
    const standalone: { group: string; positions: readonly Position[] }[] = []
    const written: Written = { appends: [], positions: [], standalone }
    return {
      append: (topic, partition, record) => void written.appends.push({ topic, partition, record }),
      positions: (claim, positions) => void written.positions.push({ claim, positions: [...positions] }),
      standalonePositions: (group, positions) => void standalone.push({ group, positions: [...positions] }),
      commit: () => this.#commit(producer, written),
      abort: async () => {},
    }
  }

  async #commit(producer: Producer, written: Written): Promise<void> {
    const what = `commit ${summary(written)}`
    const pause = async (where: string) => {
      await this.#scheduler.turn(this.#owner, where, { is_delicate: true })
    }
    const fault = await this.#scheduler.turn(this.#owner, what, { commits: true, is_delicate: true })
    if (fault === 'commit refused') throw new LogFullError(`${this.address} simulated: no space left on device`)
    if (fault === 'fenced') throw new FencedError(`${this.address} simulated: the transaction timed out`)
    const commit = () => this.#conduct.commit(producer, written, pause)
    if (fault === 'commit late') {
      this.#late(() => void commit().catch(() => {}))
      throw new Error(`${this.address} simulated: the connection was closed`)
    }
    await commit()
    await pause('answer to the commit')
    if (fault === 'commit unanswered') throw new Error(`${this.address} simulated: the answer to the commit was lost`)
  }

  async #call<T>(what: string, call: () => Promise<T>, is_delicate = false): Promise<T> {
    this.#fail(await this.#scheduler.turn(this.#owner, what, { may_fail: true, is_delicate }), what)
    return await call()
  }

  #fail(fault: FaultKind | undefined, what: string): void {
    if (fault === 'call failed') throw new Error(`${this.address} simulated: ${what} failed`)
  }
}

function summary({ appends, positions }: Written): string {
  const counts = new Map<string, number>()
  for (const { topic, partition } of appends) {
    const place = `${topic}/${partition}`
    counts.set(place, (counts.get(place) ?? 0) + 1)
  }
  const read = positions.flatMap((made) => made.positions.map((at) => `${at.topic}/${at.partition}@${at.next}`))
  return [...[...counts].map(([place, count]) => `${count}×${place}`), ...read].join(' ')
}
