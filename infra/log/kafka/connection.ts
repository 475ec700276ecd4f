import { setTimeout as sleep } from 'node:timers/promises'
import { unknownPartition, unknownTopic } from '../port/failure.ts'
import { LogDeniedError, UnknownTopicError } from '../port/log.ts'
import type { KafkaAddress } from './address.ts'
import { isTemporary, kindOf, rootOf, told } from './errors.ts'
import { firstOf } from './first-of.ts'
import { type Broker, errorName, makeBroker } from './kafkajs.ts'
import { KafkaProtocolError, lacking, type Metadata, metadata } from './protocol.ts'

const CONNECT_MS = 4_000
/** If a broker has not answered after this time, the next one is tried as well. */
const HEAD_START_MS = 1_000
const REQUEST_MS = 15_000
/** Limit for connecting, negotiating versions and logging in; a request may take longer. */
const ANSWER_MS = 6_000
/** Opening a log reports within this time that it cannot be reached. */
const OPEN_MS = 8_000
/** A call is retried for this long: a broker's restart is shorter. */
const TRY_MS = 30_000
/** And at least this many times, even if this process is too busy or not scheduled and exceeds `TRY_MS`. */
const TRIES = 4
const FIRST_WAIT_MS = 5
const LONGEST_WAIT_MS = 500

export type Coordinated = 'group' | 'transaction'

/**
 * The connection to a cluster. Finds the leader of a partition and the coordinator of a group, again after a move.
 * Requests of one connection are answered in turn, so each member and producer, whose requests wait, has its own.
 */
export class Connection {
  readonly address: KafkaAddress
  readonly #client_id: string
  readonly #brokers = new Map<number, { readonly at: string; readonly broker: Broker }>()
  readonly #seeds = new Map<string, Broker>()
  readonly #leaders = new Map<string, readonly number[]>()
  readonly #coordinators = new Map<string, number>()
  readonly #connecting = new Map<Broker, Promise<void>>()
  /** When a broker last failed to answer, by its address. */
  readonly #failed_ms = new Map<string, number>()
  #controller = -1
  #closed = false

  constructor(address: KafkaAddress, client_id: string) {
    this.address = address
    this.#client_id = client_id
  }

  /** @throws LogUnreachableError, LogDeniedError within seconds. */
  static async open(address: KafkaAddress, client_id: string): Promise<Connection> {
    const connection = new Connection(address, client_id)
    try {
      await connection.attempt('connecting', () => connection.metadata([]), OPEN_MS)
    } catch (error) {
      await connection.close()
      throw error
    }
    return connection
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Requests the metadata of these topics; also updates the list of brokers. */
  async metadata(topics: readonly string[] | 'all'): Promise<Metadata> {
    const found = await metadata(await this.any(), topics)
    for (const { node, host, port } of found.brokers) this.#know(node, host, port)
    this.#controller = found.controller
    return found
  }

  /**
   * Any broker that answers. Prefers brokers that have not failed, then those that failed longest ago, and of equal
   * ones the connected. A hanging broker still accepts connections, so the next one is tried before it has failed.
   */
  async any(): Promise<Broker> {
    this.#expectOpen()
    const known = [...this.#brokers.values()].map(({ broker }) => broker)
    const seeds = this.address.seeds.map(({ host, port }) => this.#seed(host, port))
    const failed_ms = ({ brokerAddress }: Broker) => this.#failed_ms.get(brokerAddress) ?? 0
    const candidates = [...known, ...seeds].sort(
      (a, b) => failed_ms(a) - failed_ms(b) || Number(this.#isReady(b)) - Number(this.#isReady(a)),
    )
    return await firstOf(
      candidates.map((broker) => async () => {
        try {
          return await this.#connected(broker)
        } catch (error) {
          this.#failed_ms.set(broker.brokerAddress, performance.now())
          await drop(broker)
          throw error
        }
      }),
      HEAD_START_MS,
    )
  }

  async controller(): Promise<Broker> {
    if (this.#controller < 0) await this.metadata([])
    return await this.#node(this.#controller)
  }

  async leader(topic: string, partition: number): Promise<Broker> {
    const leader = (await this.leaders(topic))[partition]
    if (leader === undefined) {
      const count = (await this.leaders(topic)).length
      throw new UnknownTopicError(unknownPartition(this.address.text, this.shown(topic), partition, count))
    }
    if (leader < 0) throw new KafkaProtocolError(5, topic, partition)
    return await this.#node(leader)
  }

  /** For each partition, its leading node or −1. @throws UnknownTopicError. */
  async leaders(topic: string): Promise<readonly number[]> {
    const cached = this.#leaders.get(topic)
    if (cached !== undefined) return cached
    const [found] = (await this.metadata([topic])).topics
    const code = found?.code ?? 3
    if (errorName(code) === 'UNKNOWN_TOPIC_OR_PARTITION' || errorName(code) === 'INVALID_TOPIC_EXCEPTION') {
      throw new UnknownTopicError(unknownTopic(this.address.text, this.shown(topic)))
    }
    if (code !== 0) throw new KafkaProtocolError(code, topic)
    const leaders = (found?.partitions ?? []).map(({ leader }) => leader)
    this.#leaders.set(topic, leaders)
    return leaders
  }

  async coordinator(of: Coordinated, key: string): Promise<Broker> {
    const place = `${of} ${key}`
    const cached = this.#coordinators.get(place)
    if (cached !== undefined) return await this.#node(cached)
    const coordinatorType = of === 'group' ? 0 : 1
    const { coordinator } = await (await this.any()).findGroupCoordinator({ groupId: key, coordinatorType })
    this.#know(coordinator.nodeId, coordinator.host, coordinator.port)
    const broker = await this.#node(coordinator.nodeId)
    this.#coordinators.set(place, coordinator.nodeId)
    return broker
  }

  /**
   * Retries `act` until it succeeds, fails for good or has been tried for `within_ms`. `act` must look up its broker
   * itself, so that each try uses the current one.
   */
  async attempt<T>(what: string, act: () => Promise<T>, within_ms = TRY_MS): Promise<T> {
    const start_ms = performance.now()
    let tries_left = within_ms < TRY_MS ? 0 : TRIES
    for (let wait_ms = FIRST_WAIT_MS; ; wait_ms = Math.min(LONGEST_WAIT_MS, wait_ms * 2)) {
      tries_left -= 1
      const began_ms = performance.now()
      try {
        return await act()
      } catch (error) {
        const tried_ms = performance.now() - start_ms
        const kind = kindOf(error)
        // Assume that the next try takes as long as this one.
        const next_ms = wait_ms + performance.now() - began_ms
        const given_up = tries_left <= 0 && tried_ms + next_ms > within_ms
        if (this.#closed || !isTemporary(kind) || given_up) {
          throw told(this.address.text, what, error, tried_ms)
        }
        await this.forget(error)
        await sleep(wait_ms * (0.75 + Math.random() / 2))
      }
    }
  }

  /** After an error: clears cached leaders and coordinators, and drops a connection that failed. */
  async forget(error: unknown): Promise<void> {
    const kind = kindOf(error)
    if (kind === 'busy') return
    this.#leaders.clear()
    this.#coordinators.clear()
    this.#controller = -1
    if (kind !== 'away') return
    const { broker: at } = rootOf(error)
    if (at !== undefined) this.#failed_ms.set(at, performance.now())
    for (const { broker } of this.#brokers.values()) if (broker.brokerAddress === at) await drop(broker)
  }

  /** A topic's name without the prefix. */
  shown(topic: string): string {
    return topic.startsWith(this.address.prefix) ? topic.slice(this.address.prefix.length) : topic
  }

  async close(): Promise<void> {
    this.#closed = true
    const brokers = [...[...this.#brokers.values()].map(({ broker }) => broker), ...this.#seeds.values()]
    this.#brokers.clear()
    this.#seeds.clear()
    await Promise.all(brokers.map((broker) => drop(broker)))
  }

  #know(node: number, host: string, port: number): void {
    const at = `${host}:${port}`
    const known = this.#brokers.get(node)
    if (known?.at === at || this.#closed) return
    if (known !== undefined) void drop(known.broker)
    const seed = this.#seeds.get(at)
    this.#seeds.delete(at)
    this.#brokers.set(node, { at, broker: seed ?? this.#make(host, port) })
  }

  async #node(node: number): Promise<Broker> {
    this.#expectOpen()
    const known = this.#brokers.get(node)
    if (known === undefined) throw new KafkaProtocolError(8)
    return await this.#connected(known.broker)
  }

  #seed(host: string, port: number): Broker {
    const at = `${host}:${port}`
    const seed = this.#seeds.get(at) ?? this.#make(host, port)
    this.#seeds.set(at, seed)
    return seed
  }

  #make(host: string, port: number): Broker {
    const { ca, sasl } = this.address
    return makeBroker(host, port, {
      ssl: ca === undefined ? undefined : ca === 'system' ? {} : { ca },
      sasl,
      clientId: this.#client_id,
      connectionTimeout: CONNECT_MS,
      requestTimeout: REQUEST_MS,
    })
  }

  /** kafkajs reports a connection before it has negotiated versions, so check those too. */
  #isReady(broker: Broker): boolean {
    return !this.#connecting.has(broker) && broker.isConnected() && broker.versions !== null
  }

  async #connected(broker: Broker): Promise<Broker> {
    if (this.#isReady(broker)) return broker
    const connected = this.#connecting.get(broker) ?? connect(broker).finally(() => this.#connecting.delete(broker))
    this.#connecting.set(broker, connected)
    await connected
    if (this.#closed) await drop(broker)
    const missing = lacking(broker)
    if (missing !== undefined) {
      throw new LogDeniedError(
        `${this.address.text}: broker ${broker.brokerAddress} is too old: expected ${missing}. Use Kafka 2.5 or later.`,
      )
    }
    return broker
  }

  #expectOpen(): void {
    if (this.#closed) throw new Error(`${this.address.text}: this handle is closed: open another one.`)
  }
}

/** Limits the wait for the first answer: kafkajs would wait as long as for any later one. */
async function connect(broker: Broker): Promise<void> {
  const why = `it accepted the connection and did not answer within ${ANSWER_MS / 1_000} s`
  const timer = setTimeout(() => void drop(broker, why), ANSWER_MS)
  try {
    await broker.connect()
  } finally {
    clearTimeout(timer)
  }
}

/** Closes the connections to a broker at once; pending requests fail. */
async function drop(broker: Broker, why = 'the connection was given up'): Promise<void> {
  const { brokerAddress } = broker
  const error = Object.assign(new Error(why), { name: 'KafkaJSConnectionError', broker: brokerAddress })
  for (const connection of broker.connectionPool.pool) connection.rejectRequests(error)
  await broker.disconnect().catch(() => undefined)
}
