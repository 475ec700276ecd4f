import { createRequire } from 'node:module'
import type { Socket } from 'node:net'

/**
 * The parts of kafkajs that this driver uses: connections, authentication, metadata and encoders. Its producer cannot
 * carry a claim and its consumer does not tell where a batch ends. The modules are internal, so the version is pinned.
 */
const VERSION = '2.2.4'
const load = createRequire(import.meta.url)

const { version } = load('kafkajs/package.json') as { version: string }
if (version !== VERSION) {
  throw new Error(`kafkajs: expected version ${VERSION}, whose internals this driver uses, found ${version}: npm ci`)
}

export interface Encoder {
  readonly buffer: Buffer
  writeInt8(value: number): Encoder
  writeInt16(value: number): Encoder
  writeInt32(value: number): Encoder
  writeInt64(value: string | number): Encoder
  writeBoolean(value: boolean): Encoder
  writeString(value: string | null): Encoder
  writeUVarInt(value: number): Encoder
  writeUVarIntString(value: string | null): Encoder
  writeBytes(value: Buffer): Encoder
  writeArray(values: readonly unknown[]): Encoder
  writeBuffer(value: Buffer): Encoder
}

export interface ProtocolRequest<T> {
  readonly request: {
    readonly apiKey: number
    readonly apiVersion: number
    readonly apiName: string
    readonly encode: () => Promise<Encoder>
  }
  readonly response: {
    readonly decode: (payload: Buffer) => Promise<T>
    readonly parse: (decoded: T) => Promise<T>
  }
  /** For a call whose answer the broker may delay. */
  readonly requestTimeout?: number
}

interface Connection {
  rejectRequests(error: Error): void
}

export interface Broker {
  readonly brokerAddress: string
  readonly versions: Readonly<Record<number, { readonly maxVersion: number }>> | null
  readonly connectionPool: {
    readonly pool: readonly Connection[]
    send<T>(request: ProtocolRequest<T>): Promise<T>
  }
  connect(): Promise<void>
  disconnect(): Promise<void>
  isConnected(): boolean
  findGroupCoordinator(of: {
    groupId: string
    coordinatorType: number
  }): Promise<{ readonly coordinator: { readonly nodeId: number; readonly host: string; readonly port: number } }>
  heartbeat(of: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>
  syncGroup(of: {
    groupId: string
    generationId: number
    memberId: string
    groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[]
  }): Promise<{ readonly memberAssignment: Buffer }>
  leaveGroup(of: { groupId: string; memberId: string }): Promise<unknown>
  describeGroups(of: { groupIds: readonly string[] }): Promise<{ readonly groups: readonly DescribedGroup[] }>
  listOffsets(of: {
    isolationLevel: number
    topics: readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly timestamp: number }[]
    }[]
  }): Promise<{
    readonly responses: readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly offset: string }[]
    }[]
  }>
  createTopics(of: { topics: readonly NewTopic[]; timeout?: number }): Promise<unknown>
  describeConfigs(of: {
    resources: readonly { readonly type: number; readonly name: string; readonly configNames: readonly string[] }[]
  }): Promise<{
    readonly resources: readonly {
      readonly resourceName: string
      readonly configEntries: readonly { readonly configName: string; readonly configValue: string | null }[]
    }[]
  }>
  deleteRecords(of: {
    topics: readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly offset: string }[]
    }[]
  }): Promise<unknown>
  addPartitionsToTxn(
    of: TransactionIds & { topics: readonly { readonly topic: string; readonly partitions: readonly number[] }[] },
  ): Promise<unknown>
  addOffsetsToTxn(of: TransactionIds & { groupId: string }): Promise<unknown>
  endTxn(of: TransactionIds & { transactionResult: boolean }): Promise<unknown>
}

export interface TransactionIds {
  readonly transactionalId: string
  readonly producerId: string
  readonly producerEpoch: number
}

export interface NewTopic {
  readonly topic: string
  readonly numPartitions: number
  readonly replicationFactor: number
  readonly configEntries: readonly { readonly name: string; readonly value: string }[]
}

export interface DescribedGroup {
  readonly groupId: string
  readonly state: string
  readonly protocol: string
  readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]
}

export interface BrokerOptions {
  readonly ssl?: { readonly ca?: string } | undefined
  readonly sasl?: { readonly mechanism: string; readonly username: string; readonly password: string } | undefined
  readonly clientId: string
  readonly connectionTimeout: number
  readonly requestTimeout: number
}

const BrokerClass = load('kafkajs/src/broker') as new (options: Record<string, unknown>) => Broker
const ConnectionPool = load('kafkajs/src/network/connectionPool') as new (options: Record<string, unknown>) => unknown
const EncoderClass = load('kafkajs/src/protocol/encoder') as new () => Encoder
const { createLogger } = load('kafkajs/src/loggers') as {
  createLogger(options: { level: number; logCreator: () => (entry: LogEntry) => void }): unknown
}
const socketFactory = load('kafkajs/src/network/socketFactory') as () => (options: Record<string, unknown>) => Socket
const { errorCodes } = load('kafkajs/src/protocol/error') as {
  errorCodes: readonly { readonly type: string; readonly code: number }[]
}
const JOIN_GROUP = load('kafkajs/src/protocol/requests/joinGroup') as {
  protocol(of: { version: number }): (request: Record<string, unknown>) => ProtocolRequest<Joined>
}
const { MemberMetadata, MemberAssignment } = load('kafkajs/src/consumer/assignerProtocol') as {
  MemberMetadata: {
    encode(of: { version: number; topics: readonly string[]; userData: Buffer }): Buffer
    decode(bytes: Buffer): { topics: readonly string[]; userData: Buffer }
  }
  MemberAssignment: {
    encode(of: { version: number; assignment: Readonly<Record<string, readonly number[]>> }): Buffer
    decode(bytes: Buffer): { assignment: Readonly<Record<string, readonly number[]>> } | null
  }
}

// Off by default: what kafkajs logs as an error is also thrown, and reported once and in full.
const LOGGER = createLogger({ level: process.env.KAFKAJS_LOG_LEVEL ? 5 : 0, logCreator: () => printed })

export { MemberAssignment, MemberMetadata }

export interface Joined {
  readonly generationId: number
  readonly leaderId: string
  readonly memberId: string
  readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]
}

interface LogEntry {
  readonly label: string
  readonly log: Readonly<Record<string, unknown>> & { readonly message: string }
}

/** JoinGroup v5; throws `KafkaJSMemberIdRequired`, with the id, on a member's first call. */
export const joinGroupRequest = JOIN_GROUP.protocol({ version: 5 })

export const encoder = (): Encoder => new EncoderClass()

/** The name of a protocol error code, or its number where kafkajs 2.2.4 is older than the code. */
export function errorName(code: number): string {
  return LATER_CODES[code] ?? errorCodes.find((known) => known.code === code)?.type ?? `ERROR_CODE_${code}`
}

const LATER_CODES: Readonly<Record<number, string>> = {
  89: 'THROTTLING_QUOTA_EXCEEDED',
  90: 'PRODUCER_FENCED',
  100: 'UNKNOWN_TOPIC_ID',
  120: 'TRANSACTION_ABORTABLE',
}

/** A connection to one broker, without retries of its own: `Connection` decides what is retried, and how often. */
export function makeBroker(host: string, port: number, options: BrokerOptions): Broker {
  const connectionPool = new ConnectionPool({
    ...options,
    host,
    port,
    socketFactory: openSocket,
    enforceRequestTimeout: true,
    logger: LOGGER,
  })
  const authenticationTimeout = options.requestTimeout
  return new BrokerClass({ connectionPool, logger: LOGGER, authenticationTimeout, allowAutoTopicCreation: false })
}

const newSocket = socketFactory()

// Each `disconnect()` of kafkajs calls `unref` on the socket. On a closed socket, `unref` adds a listener for a
// connection that is never made, and Node warns at the eleventh listener.
function openSocket(options: Record<string, unknown>): Socket {
  const socket = newSocket(options)
  const unref = socket.unref.bind(socket)
  return Object.assign(socket, { unref: () => (socket.destroyed ? socket : unref()) })
}

function printed({ label, log }: LogEntry): void {
  process.stderr.write(`kafkajs ${label} ${JSON.stringify(log)}\n`)
}

interface Queue {
  readonly enforceRequestTimeout: boolean
  readonly requestTimeout: number
  readonly inflight: ReadonlyMap<number, { sentAt: number; readonly requestTimeout: number; timeoutRequest(): void }>
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
  requestTimeoutIntervalId: NodeJS.Timeout | null
  throttleCheckTimeoutId: NodeJS.Timeout | null
  isConnected(): boolean
  destroy(): void
  checkPendingRequests(): void
  scheduleCheckPendingRequests(): void
  scheduleRequestTimeoutCheck(): void
}

const RequestQueue = load('kafkajs/src/network/requestQueue') as { readonly prototype: Queue }

// kafkajs 2.2.4 repeatedly sets a timer with a negative time on every connection: Node 24 warns, and each idle
// connection wakes a thousand times a second. Only pending requests (throttled, or too many in flight) need the timer.
RequestQueue.prototype.scheduleCheckPendingRequests = function () {
  if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) return
  this.throttleCheckTimeoutId = setTimeout(
    () => {
      this.throttleCheckTimeoutId = null
      this.checkPendingRequests()
    },
    Math.max(10, this.throttledUntil - Date.now()),
  )
}

const LOOK_MS = 100

// kafkajs also counts time in which this process was busy or not scheduled, so that answers waiting unread in the
// socket would count as late. Here only time in which they could have been read counts.
RequestQueue.prototype.scheduleRequestTimeoutCheck = function () {
  if (!this.enforceRequestTimeout) return
  this.destroy()
  let looked_ms = Date.now()
  this.requestTimeoutIntervalId = setInterval(() => {
    const now_ms = Date.now()
    const unread_ms = Math.max(0, now_ms - looked_ms - LOOK_MS)
    looked_ms = now_ms
    for (const request of this.inflight.values()) {
      request.sentAt += unread_ms
      if (now_ms - request.sentAt > request.requestTimeout) request.timeoutRequest()
    }
    if (!this.isConnected()) this.destroy()
  }, LOOK_MS)
  // The socket of a pending request keeps the process alive. An attempt to connect that was abandoned must not.
  this.requestTimeoutIntervalId.unref()
}

const ConnectionClass = load('kafkajs/src/network/connection') as {
  readonly prototype: { connect(): Promise<boolean> }
}
const connectOnce = ConnectionClass.prototype.connect
const CONNECTING = new WeakMap<object, Promise<boolean>>()

// Without this, two calls during a connect would each open a socket, and the first would write to the second's.
ConnectionClass.prototype.connect = function () {
  const connecting = CONNECTING.get(this) ?? connectOnce.call(this).finally(() => CONNECTING.delete(this))
  CONNECTING.set(this, connecting)
  return connecting
}
