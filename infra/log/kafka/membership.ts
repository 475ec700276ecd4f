import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { fencedClaim } from '../failure.ts'
import type { Epochs } from '../group.ts'
import { FencedError, LogDeniedError } from '../log.ts'
import { assign, assignedTo, encodeMember } from './assigner.ts'
import type { Connection } from './connection.ts'
import { isTemporary, kindOf, rootOf, told } from './errors.ts'
import { beat, silence } from './heartbeats.ts'
import { type Joined, joinGroupRequest } from './kafkajs.ts'
import type { Proof } from './transaction-protocol.ts'

export interface MembershipOptions {
  /** Without the prefix, as the pipeline knows it. */
  readonly group: string
  readonly topics: readonly string[]
  readonly partitions: number
  readonly session_timeout_ms: number
  readonly heartbeat_ms: number
  /** `poll`: no sign of life but at polls. */
  readonly heartbeats: 'always' | 'poll'
}

/** By the id in their claims, the members of this process: a claim may be committed through any handle. */
export const MEMBERSHIPS = new Map<string, Membership>()

/** How long the others wait for a member that neither polls nor has been given up. */
const REBALANCE_MS = 60_000
/** A broker that stays away for this long is told to whoever polls. */
const AWAY_MS = 20_000

/**
 * One member of a Kafka group, in the classic protocol. Ownership has epochs as in `group.ts`: a partition keeps its
 * epoch while it stays with the same member from one generation to the next, and gets a new one in every other case.
 * A claim is compared by these, and committed under the generation in which they hold; the broker refuses that
 * generation to whoever is no member of it. So a claim survives a rebalance for what was kept, and for nothing else.
 */
export class Membership {
  readonly options: MembershipOptions
  readonly #connection: Connection
  readonly #changed: () => void
  #state: 'out' | 'joining' | 'stable' | 'rebalancing' | 'left' = 'out'
  #member = ''
  #generation = -1
  #owned: Epochs = new Map()
  #epochs = 0
  #heard_ms = 0
  readonly #id = randomUUID()
  #timer: NodeJS.Timeout | undefined
  /** Since when a rebalance waits for the caller to commit what it has. */
  #rebalancing_ms = 0
  #drained = false
  #failure: Error | undefined
  #joining: Promise<void> = Promise.resolve()

  constructor(connection: Connection, options: MembershipOptions, changed: () => void) {
    this.#connection = connection
    this.options = options
    this.#changed = changed
    if (options.heartbeats === 'always') {
      this.#timer = setInterval(() => this.#joinWithoutPoll(), options.heartbeat_ms)
      this.#timer.unref()
    }
  }

  get address(): string {
    return this.#connection.address.text
  }

  /** What is owned now; says to a rebalance that the caller has come back, so that it may go on. */
  async owned(): Promise<Epochs> {
    const failure = this.#failure
    if (failure !== undefined) {
      this.#failure = undefined
      throw failure
    }
    const { heartbeats, heartbeat_ms } = this.options
    if (heartbeats === 'poll' && performance.now() - this.#heard_ms > heartbeat_ms) await this.#beatNow()
    if (this.#state === 'out') this.#join()
    // The first poll comes back empty, so that the caller commits what it has; the one after it lets partitions go.
    else if (this.#state === 'rebalancing' && this.#drained) this.#join()
    else if (this.#state === 'rebalancing') this.#drained = true
    return this.#owned
  }

  /** Nothing may be read now: partitions are about to move. */
  get moving(): boolean {
    return this.#state !== 'stable'
  }

  /** The caller should come back at once. */
  get interrupts(): boolean {
    return this.#state === 'rebalancing' || this.#failure !== undefined
  }

  /**
   * Under which generation these partitions can be committed, if they are owned as they were then. While a rebalance
   * is under way that generation may be over: `after` waits for the one behind it.
   * @throws FencedError when one was lost.
   */
  async proof(epochs: Iterable<readonly [partition: number, epoch: number]>, after?: Proof): Promise<Proof> {
    const lost = () => [...epochs].find(([partition, epoch]) => this.#owned.get(partition) !== epoch)?.[0]
    const stale = () => after !== undefined && after.generation === this.#generation && after.member === this.#member
    for (const start_ms = performance.now(); stale() && performance.now() - start_ms < REBALANCE_MS; ) {
      if (this.#state !== 'joining') break
      await Promise.race([this.#joining, sleep(100)])
    }
    const partition = lost()
    if (partition !== undefined || stale() || this.#state === 'left') {
      throw new FencedError(fencedClaim(this.options.group, this.#member, partition ?? [...epochs][0]?.[0] ?? 0))
    }
    return { generation: this.#generation, member: this.#member }
  }

  async leave(through: Connection): Promise<void> {
    if (this.#state === 'left') return
    this.#state = 'left'
    clearInterval(this.#timer)
    silence(this.#id)
    this.#owned = new Map()
    const member = this.#member
    if (member === '') return
    const groupId = this.#groupId
    await through
      .attempt(
        `leaving group ${this.options.group}`,
        async () => {
          const coordinator = await through.coordinator('group', groupId)
          await coordinator.leaveGroup({ groupId, memberId: member })
        },
        2_000,
      )
      // It is gone already, or will be when its session ends.
      .catch(() => undefined)
  }

  get #groupId(): string {
    return this.#connection.address.prefix + this.options.group
  }

  /** Signs of life for the generation that has just begun: from a thread, or at polls alone. */
  #beatOn(): void {
    const { heartbeats, heartbeat_ms } = this.options
    if (heartbeats === 'poll') return
    const { address } = this.#connection
    const [member, generation] = [this.#member, this.#generation]
    beat({ id: this.#id, address, group: this.#groupId, member, generation, every_ms: heartbeat_ms }, (heard) => {
      // An answer to an earlier generation's may still come.
      if (heard.refused === undefined || heard.generation !== this.#generation || heard.member !== this.#member) return
      this.#refused(heard.refused, heard.denied)
    })
  }

  async #beatNow(): Promise<void> {
    if (this.#state !== 'stable' && this.#state !== 'rebalancing') return
    const [generation, member] = [this.#generation, this.#member]
    this.#heard_ms = performance.now()
    try {
      const coordinator = await this.#connection.coordinator('group', this.#groupId)
      await coordinator.heartbeat({ groupId: this.#groupId, groupGenerationId: generation, memberId: member })
    } catch (error) {
      const kind = kindOf(error)
      const { type, message } = rootOf(error)
      if (isTemporary(kind) && type !== 'REBALANCE_IN_PROGRESS') await this.#connection.forget(error)
      else if (this.#generation === generation) this.#refused(type ?? message ?? 'unknown', kind === 'denied')
    }
  }

  #refused(type: string, denied: boolean): void {
    if (this.#state !== 'stable' && this.#state !== 'rebalancing') return
    if (type === 'REBALANCE_IN_PROGRESS') {
      if (this.#state === 'rebalancing') return
      this.#state = 'rebalancing'
      this.#rebalancing_ms = performance.now()
      this.#drained = false
      this.#changed()
    } else if (type === 'UNKNOWN_MEMBER_ID' || type === 'ILLEGAL_GENERATION' || type === 'FENCED_INSTANCE_ID') {
      this.#lose(type === 'UNKNOWN_MEMBER_ID')
    } else {
      const text = `${this.#connection.address.text}: a heartbeat of group ${this.options.group} was refused: ${type}.`
      this.#fail(
        denied ? new LogDeniedError(`${text} Ask for the right (ACL) to read with this group.`) : new Error(text),
      )
    }
  }

  /** Whoever is at work for long does not hold up the others: its claims stay good for what it keeps. */
  #joinWithoutPoll(): void {
    const waits_ms = performance.now() - this.#rebalancing_ms
    if (this.#state === 'rebalancing' && waits_ms > this.options.session_timeout_ms / 2) this.#join()
  }

  #lose(forgotten: boolean): void {
    if (this.#state === 'left') return
    if (forgotten) this.#member = ''
    silence(this.#id)
    this.#generation = -1
    this.#owned = new Map()
    this.#state = 'out'
    this.#changed()
  }

  #fail(failure: Error): void {
    this.#failure = failure
    this.#lose(false)
  }

  #join(): void {
    if (this.#state === 'joining' || this.#state === 'left') return
    this.#state = 'joining'
    this.#joining = this.#joined().catch((error: unknown) => {
      this.#fail(told(this.#connection.address.text, `joining group ${this.options.group}`, error))
    })
  }

  async #joined(): Promise<void> {
    const start_ms = performance.now()
    for (let wait_ms = 10; this.#state === 'joining'; ) {
      try {
        if (await this.#joinOnce()) return
      } catch (error) {
        const type = rootOf(error).type
        if (type === 'UNKNOWN_MEMBER_ID') this.#member = ''
        else if (type === 'REBALANCE_IN_PROGRESS' || type === 'ILLEGAL_GENERATION') continue
        else if (!isTemporary(kindOf(error)) || performance.now() - start_ms > AWAY_MS) throw error
        await this.#connection.forget(error)
        await sleep(wait_ms)
        wait_ms = Math.min(500, wait_ms * 2)
      }
    }
  }

  async #joinOnce(): Promise<boolean> {
    const { topics, partitions } = this.options
    const before = { member: this.#member, generation: this.#generation }
    const groupId = this.#groupId
    const joined = await this.#askToJoin()
    if (this.#state !== 'joining') return true
    this.#member = joined.memberId
    const { generationId: generation, memberId: member, leaderId } = joined
    const groupAssignment = leaderId === member ? assign(joined.members, topics, partitions) : []
    const coordinator = await this.#connection.coordinator('group', groupId)
    const synced = await coordinator.syncGroup({ groupId, generationId: generation, memberId: member, groupAssignment })
    if (this.#state !== 'joining') return true
    const stayed = before.member === member && before.generation + 1 === generation
    const owned = new Map<number, number>()
    for (const partition of assignedTo(synced.memberAssignment, topics[0] ?? '')) {
      const kept = stayed ? this.#owned.get(partition) : undefined
      this.#epochs += kept === undefined ? 1 : 0
      owned.set(partition, kept ?? this.#epochs)
    }
    this.#generation = generation
    this.#owned = owned
    this.#heard_ms = performance.now()
    this.#state = 'stable'
    this.#beatOn()
    this.#changed()
    return true
  }

  /** The broker answers when every member has come, so this may take as long as they do. */
  async #askToJoin(): Promise<Joined> {
    const { topics, session_timeout_ms } = this.options
    const metadata = encodeMember(topics, { generation: this.#generation, partitions: [...this.#owned.keys()] })
    const ask = async (memberId: string) => {
      const coordinator = await this.#connection.coordinator('group', this.#groupId)
      return await coordinator.connectionPool.send(
        joinGroupRequest({
          groupId: this.#groupId,
          sessionTimeout: session_timeout_ms,
          rebalanceTimeout: REBALANCE_MS,
          memberId,
          protocolType: 'consumer',
          // Named by the topics: the broker turns away whoever reads others.
          groupProtocols: [{ name: protocolOf(topics), metadata }],
        }),
      )
    }
    try {
      return await ask(this.#member)
    } catch (error) {
      if (rootOf(error).type !== 'MEMBER_ID_REQUIRED') throw error
      this.#member = (error as { memberId: string }).memberId
      return await ask(this.#member)
    }
  }
}

/** Members of one group must agree on this name; that is how the broker knows that they read the same topics. */
export function protocolOf(topics: readonly string[]): string {
  return `plumbline:${topics.join(',')}`
}
