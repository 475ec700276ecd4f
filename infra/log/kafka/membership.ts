import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { fencedClaim } from '../port/failure.ts'
import type { Epochs } from '../port/group.ts'
import { FencedError, LogDeniedError } from '../port/log.ts'
import { assign, assignedTo, encodeMember } from './assigner.ts'
import type { Connection } from './connection.ts'
import { isTemporary, kindOf, rootOf, told } from './errors.ts'
import { beat, silence } from './heartbeats.ts'
import { type Joined, joinGroupRequest } from './kafkajs.ts'
import type { Proof } from './transaction-protocol.ts'

export interface MembershipOptions {
  /** Without the prefix. */
  readonly group: string
  readonly topics: readonly string[]
  readonly partitions: number
  readonly session_timeout_ms: number
  readonly heartbeat_ms: number
  /** `poll`: heartbeats only at polls. */
  readonly heartbeats: 'always' | 'poll'
}

/** The members of this process by the id in their claims: a claim may be committed through any handle. */
export const MEMBERSHIPS = new Map<string, Membership>()

/** How long a rebalance waits for a live member that does not join. */
const REBALANCE_MS = 60_000
/** A broker that is unreachable for this long is reported to the polling caller. */
const AWAY_MS = 20_000

/**
 * One member of a Kafka group, in the classic protocol. Ownership has epochs as in `group.ts`: a partition keeps its
 * epoch while it stays with the same member from one generation to the next, and gets a new one in every other case.
 * A claim is checked against these epochs and committed under the current generation; the broker refuses a generation
 * to a process that is no member of it. So a claim survives a rebalance for retained partitions, and only for those.
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
  /** Since when a rebalance has been waiting for the caller to commit. */
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

  /** The partitions owned now. Called by each poll: during a rebalance, the second call lets it proceed. */
  async owned(): Promise<Epochs> {
    const failure = this.#failure
    if (failure !== undefined) {
      this.#failure = undefined
      throw failure
    }
    const { heartbeats, heartbeat_ms } = this.options
    if (heartbeats === 'poll' && performance.now() - this.#heard_ms > heartbeat_ms) await this.#beatNow()
    if (this.#state === 'out') this.#join()
    // The first poll returns no records, so that the caller commits; the next one releases the partitions.
    else if (this.#state === 'rebalancing' && this.#drained) this.#join()
    else if (this.#state === 'rebalancing') this.#drained = true
    return this.#owned
  }

  /** The partitions owned now, as far as this process knows. */
  get owns(): Epochs {
    return this.#owned
  }

  /** Nothing may be read now, because partitions may move. */
  get moving(): boolean {
    return this.#state !== 'stable'
  }

  /** Whether a poll should return at once. */
  get interrupts(): boolean {
    return this.#state === 'rebalancing' || this.#failure !== undefined
  }

  /**
   * The generation under which these partitions can be committed, if each still has the given epoch. Pass a refused
   * proof as `after`: the call then waits for the rebalance in progress and returns the next generation.
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
      // The member has left already, or its session will expire.
      .catch(() => undefined)
  }

  get #groupId(): string {
    return this.#connection.address.prefix + this.options.group
  }

  /** Starts heartbeats for the new generation from the thread, unless they are sent only at polls. */
  #beatOn(): void {
    const { heartbeats, heartbeat_ms } = this.options
    if (heartbeats === 'poll') return
    const { address } = this.#connection
    const [member, generation] = [this.#member, this.#generation]
    beat({ id: this.#id, address, group: this.#groupId, member, generation, every_ms: heartbeat_ms }, (heard) => {
      // An answer for an earlier generation may still arrive.
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

  /** Joins if the caller works for long, so that others do not wait. Claims on retained partitions stay valid. */
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

  /** The broker answers once every member has joined, so this may take as long as the slowest. */
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
          // Named by the topics: the broker refuses a member with other topics.
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

/** Members of one group must agree on this name. The broker thereby ensures that they read the same topics. */
export function protocolOf(topics: readonly string[]): string {
  return `plumbline:${topics.join(',')}`
}
