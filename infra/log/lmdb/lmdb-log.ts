import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Consumer, type GroupAccess } from '../consumer.ts'
import { EMPTY_GROUP, hasExpiredMembers, ownedBy } from '../group.ts'
import {
  type JoinOptions,
  type Log,
  LogReadOnlyError,
  type Member,
  type NewRecord,
  type Position,
  type Producer,
  type ReadRequest,
  type ReadResult,
  type TopicSpec,
} from '../log.ts'
import { type Appends, BufferedProducer, type Progress } from '../producer.ts'
import { ChunkBuilder } from './chunk.ts'
import { Reader } from './reader.ts'
import { refusal } from './refusal.ts'
import type { PartitionAppends, Renewal, Request } from './request.ts'
import { checkFormat, type Durability, groupState, leaseClock_ms, openTables } from './tables.ts'
import { WriterThread } from './writer-thread.ts'

export interface LmdbLogOptions {
  /** A folder on a local disk; made when it is not there. Any number of processes of one host may open it. */
  readonly dir: string
  /** `read` needs no write lock and works on a read-only file system; writing throws `LogReadOnlyError`. */
  readonly access?: 'write' | 'read'
  /** `survives_kill_only`: a commit survives the loss of the process, but a power cut may damage the whole log. */
  readonly durability?: Durability
  /** How long a write waits for another process's before it fails with `LogBusyError`. */
  readonly lock_wait_ms?: number
  /** `always`: a member lives as long as its process. `poll`: it must poll once per session. */
  readonly heartbeats?: 'always' | 'poll'
}

/**
 * The embedded log: one LMDB environment in a folder.
 *
 * @throws LogReadOnlyError, LogFullError, LogBusyError when the folder cannot be opened for writing.
 * @throws Error when a newer release wrote it.
 */
export async function openLmdbLog(options: LmdbLogOptions): Promise<Log> {
  const dir = resolve(options.dir)
  // One at a time: LMDB shares one environment among all who open a folder in a process, with the first one's access.
  const before = OPENING.get(dir)
  const opening = (async () => {
    await before?.catch(() => undefined)
    return await open(dir, options)
  })()
  OPENING.set(dir, opening)
  try {
    return await opening
  } finally {
    if (OPENING.get(dir) === opening) OPENING.delete(dir)
  }
}

const OPENING = new Map<string, Promise<Log>>()

/** How many handles of this process have opened a folder for reading while none had opened it for writing. */
const READ_ONLY = new Map<string, number>()
const WRITING = new Map<string, number>()

async function open(dir: string, options: LmdbLogOptions): Promise<Log> {
  const { access = 'write', durability = 'flushed', lock_wait_ms = 10_000, heartbeats = 'always' } = options
  const waiting: { nudge?: () => void } = {}
  let writer: WriterThread | undefined
  try {
    if (access === 'write') {
      if (count(READ_ONLY, dir) > 0) {
        throw new Error(
          `lmdb:${dir}: expected no handle of this process that was opened with access 'read' first, found ` +
            `${count(READ_ONLY, dir)}. Close it, or open for writing first.`,
        )
      }
      mkdirSync(dir, { recursive: true })
      writer = await WriterThread.start({ dir, durability, lock_wait_ms }, () => waiting.nudge?.())
    } else if (!existsSync(join(dir, 'data.mdb'))) {
      throw new Error(`lmdb:${dir}: expected a log to read, found none. Write one first, or name another folder.`)
    }
    const reader = new Reader(openTables(dir, true, durability), `lmdb:${dir}`)
    waiting.nudge = () => reader.nudge()
    checkFormat(dir, reader.tables.catalog.get(['format']))
    const counted = access === 'write' ? WRITING : count(WRITING, dir) > 0 ? undefined : READ_ONLY
    counted?.set(dir, count(counted, dir) + 1)
    const closed = () => counted?.set(dir, count(counted, dir) - 1)
    return new LmdbLog(`lmdb:${dir}`, reader, writer, heartbeats, closed)
  } catch (error) {
    await writer?.close()
    throw refusal(dir, error)
  }
}

function count(handles: ReadonlyMap<string, number>, dir: string): number {
  return handles.get(dir) ?? 0
}

class LmdbLog implements Log {
  readonly address: string
  readonly #reader: Reader
  readonly #writer: WriterThread | undefined
  readonly #heartbeats: 'always' | 'poll'
  readonly #onClose: () => void
  readonly #members = new Set<Member>()
  #closed = false

  constructor(
    address: string,
    reader: Reader,
    writer: WriterThread | undefined,
    heartbeats: 'always' | 'poll',
    onClose: () => void,
  ) {
    this.address = address
    this.#reader = reader
    this.#writer = writer
    this.#heartbeats = heartbeats
    this.#onClose = onClose
  }

  async createTopics(topics: readonly TopicSpec[]): Promise<void> {
    await this.#write({ kind: 'createTopics', topics })
  }

  async topics(): Promise<readonly TopicSpec[]> {
    return this.#fresh().topics()
  }

  async beginningOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#fresh().topic(topic).begins.map(BigInt)
  }

  async endOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#fresh().topic(topic).ends.map(BigInt)
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    return this.#fresh().read(request, true)
  }

  async deleteBefore(topic: string, partition: number, before: bigint): Promise<void> {
    const step = { kind: 'trim', topic, partition, before: Number(before) } as const
    while ((await this.#write(step)) === false);
  }

  async producer(options: { readonly transactional_id: string }): Promise<Producer> {
    const { transactional_id } = options
    const epoch = (await this.#write({ kind: 'fence', transactional_id })) as number
    const commit = async (buffered: EncodedAppends, progress: Progress) => {
      const { appends, memory } = buffered.finish()
      await this.#write({ kind: 'commit', transactional_id, epoch, appends, progress }, memory)
    }
    const begin = () => new EncodedAppends(this.#fresh(), this.#writer?.spare)
    return new BufferedProducer(transactional_id, { begin, commit, abort: () => {} })
  }

  async join(options: JoinOptions): Promise<Member> {
    const { group, topics, session_timeout_ms } = options
    const member = randomUUID()
    const keep_alive = this.#heartbeats === 'always'
    const renewal: Renewal = { kind: 'renew', group, member, topics, session_timeout_ms, keep_alive }
    await this.#write(renewal)
    let renewed_ms = leaseClock_ms()
    const renew = async () => {
      await this.#write(renewal)
      renewed_ms = leaseClock_ms()
    }
    const state = () => groupState(this.#fresh().tables, group) ?? EMPTY_GROUP
    const access: GroupAccess = {
      owned: async () => {
        const now_ms = leaseClock_ms()
        const found = state()
        const due = !keep_alive && now_ms - renewed_ms > session_timeout_ms / 3
        if (due || found.members[member] === undefined || hasExpiredMembers(found, member, now_ms)) await renew()
        return ownedBy(state(), member)
      },
      start: async (topic, partition) => this.#reader.start(group, topic, partition),
      read: (request, at_least_one) => this.#reader.read(request, at_least_one),
      changed: (wait_ms) => this.#reader.changed(wait_ms),
      now_ms: () => performance.now(),
      leave: async () => {
        this.#members.delete(consumer)
        await this.#write({ kind: 'leave', group, member })
      },
    }
    const consumer = new Consumer(member, group, [...topics], access)
    this.#members.add(consumer)
    return consumer
  }

  async committed(group: string): Promise<readonly Position[]> {
    return this.#fresh().committed(group)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    for (const member of [...this.#members]) await member.leave()
    this.#closed = true
    await this.#reader.close()
    await this.#writer?.close()
    this.#onClose()
  }

  #fresh(): Reader {
    if (this.#closed) throw new Error(`${this.address}: this handle is closed: open another one.`)
    this.#reader.refresh()
    return this.#reader
  }

  async #write(request: Request, transfer?: ArrayBuffer[]): Promise<unknown> {
    if (this.#closed) throw new Error(`${this.address}: this handle is closed: open another one.`)
    if (this.#writer === undefined) {
      throw new LogReadOnlyError(
        `${this.address}: expected a log opened for writing, this one was opened with access 'read'.`,
      )
    }
    return await this.#writer.ask(request, transfer)
  }
}

/** An open transaction's records, encoded as they come. */
class EncodedAppends implements Appends {
  readonly #reader: Reader
  readonly #spare: ArrayBuffer[] | undefined
  readonly #builders = new Map<string, { topic: string; partition: number; builder: ChunkBuilder }>()

  constructor(reader: Reader, spare: ArrayBuffer[] | undefined) {
    this.#reader = reader
    this.#spare = spare
  }

  add(topic: string, partition: number, record: NewRecord): void {
    const place = `${topic}/${partition}`
    let into = this.#builders.get(place)
    if (into === undefined) {
      this.#reader.refresh()
      this.#reader.expectPartition(topic, partition)
      into = { topic, partition, builder: new ChunkBuilder(this.#spare) }
      this.#builders.set(place, into)
    }
    into.builder.add(record)
  }

  /** Chunks, and the memory that can be handed over with them. */
  finish(): { appends: readonly PartitionAppends[]; memory: ArrayBuffer[] } {
    const appends: PartitionAppends[] = []
    const memory = new Set<ArrayBuffer>()
    for (const { topic, partition, builder } of this.#builders.values()) {
      const chunks = builder.finish()
      appends.push({ topic, partition, chunks })
      for (const chunk of chunks) memory.add(chunk.bytes.buffer as ArrayBuffer)
    }
    return { appends, memory: [...memory] }
  }
}
