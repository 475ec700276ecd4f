import { randomUUID } from 'node:crypto'
import { accessSync, constants, existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { makeFolder } from '../../make-folder.ts'
import { Consumer, type GroupAccess } from '../port/consumer.ts'
import { EMPTY_GROUP, hasExpiredMembers, ownedBy } from '../port/group.ts'
import {
  type Integrity,
  type JoinOptions,
  type Log,
  LogReadOnlyError,
  type Member,
  type Position,
  type Producer,
  type ReadRequest,
  type ReadResult,
  type Topic,
  type TopicSpec,
} from '../port/log.ts'
import { BufferedProducer, type Progress } from '../port/producer.ts'
import { EncodedAppends } from './encoded-appends.ts'
import { integrityOf } from './integrity.ts'
import { LastTransaction } from './last-transaction.ts'
import { claimFolder } from './namespace-claim.ts'
import { Reader } from './reader.ts'
import { refusal } from './refusal.ts'
import type { Renewal, Request } from './request.ts'
import { realFolder, shareEnvironment } from './shared-environment.ts'
import { expectSoundFile } from './sound-file.ts'
import { checkFormat, type Durability, groupState, leaseClock_ms, noLog, openTables } from './tables.ts'
import { WriterThread } from './writer-thread.ts'

export interface LmdbLogOptions {
  /** A folder on a local disk; created if missing. Any number of processes of one host may open it. */
  readonly dir: string
  /** `read` needs no write lock and works on a read-only file system; writing throws `LogReadOnlyError`. */
  readonly access?: 'write' | 'read'
  /** `survives_kill_only`: a commit survives the loss of the process, but a power cut may damage the whole log. */
  readonly durability?: Durability
  /** How long a write waits for one of another process before it fails with `LogBusyError`. */
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
  try {
    if (options.access !== 'read') makeFolder(dir)
    const folder = realFolder(dir)
    // One at a time, so that the second knows what the first has opened.
    const before = OPENING.get(folder)
    const opening = (async () => {
      await before?.catch(() => undefined)
      return await open(dir, folder, options)
    })()
    OPENING.set(folder, opening)
    try {
      return await opening
    } finally {
      if (OPENING.get(folder) === opening) OPENING.delete(folder)
    }
  } catch (error) {
    throw refusal(dir, error)
  }
}

const OPENING = new Map<string, Promise<Log>>()

async function open(dir: string, folder: string, options: LmdbLogOptions): Promise<Log> {
  const { access = 'write', durability = 'flushed', lock_wait_ms = 10_000, heartbeats = 'always' } = options
  const waiting: { nudge?: () => void } = {}
  // What remains open after a failure would decide how the next handle of this process has the folder open.
  const opened = new AsyncDisposableStack()
  try {
    expectSoundFile(dir)
    if (access === 'read' && !existsSync(join(dir, 'data.mdb'))) throw noLog(dir)
    opened.defer(shareEnvironment(folder, dir, { access, durability }))
    opened.defer(claimFolder(dir))
    let writer: WriterThread | undefined
    if (access === 'write') {
      writer = await WriterThread.start({ dir, durability, lock_wait_ms }, () => waiting.nudge?.())
      opened.adopt(writer, (it) => it.close())
    }
    const unlocked = access === 'read' && !isWritable(join(dir, 'lock.mdb'))
    const reader = new Reader(openTables(dir, true, durability), `lmdb:${dir}`, { unlocked })
    opened.adopt(reader, (it) => it.close())
    if (access === 'read' && !unlocked) settleLastTransaction(dir)
    waiting.nudge = () => reader.nudge()
    reader.steadily(() => checkFormat(dir, reader.tables.catalog.get(['format'])))
    return new LmdbLog(dir, reader, writer, heartbeats, opened)
  } catch (error) {
    await opened.disposeAsync()
    throw error
  }
}

function settleLastTransaction(dir: string): void {
  const last = new LastTransaction(dir)
  try {
    last.settle()
  } finally {
    last.close()
  }
}

/** Whether LMDB can register a reader: for that it must write, or first create, the lock file. */
function isWritable(file: string): boolean {
  try {
    accessSync(existsSync(file) ? file : dirname(file), constants.W_OK)
    return true
  } catch {
    return false
  }
}

class LmdbLog implements Log {
  readonly address: string
  readonly #dir: string
  readonly #reader: Reader
  readonly #writer: WriterThread | undefined
  readonly #heartbeats: 'always' | 'poll'
  readonly #opened: AsyncDisposableStack
  readonly #members = new Set<Member>()
  #closed = false

  constructor(
    dir: string,
    reader: Reader,
    writer: WriterThread | undefined,
    heartbeats: 'always' | 'poll',
    opened: AsyncDisposableStack,
  ) {
    this.address = `lmdb:${dir}`
    this.#dir = dir
    this.#reader = reader
    this.#writer = writer
    this.#heartbeats = heartbeats
    this.#opened = opened
  }

  async createTopics(topics: readonly TopicSpec[]): Promise<void> {
    await this.#write({ kind: 'createTopics', topics })
  }

  async topics(names?: readonly string[]): Promise<readonly Topic[]> {
    return this.#look((reader) => reader.topics(names))
  }

  async beginningOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#look((reader) => reader.topic(topic).begins.map(BigInt))
  }

  async endOffsets(topic: string): Promise<readonly bigint[]> {
    return this.#look((reader) => reader.topic(topic).ends.map(BigInt))
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    return this.#look((reader) => reader.read(request, true))
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
    const state = () => this.#look((reader) => groupState(reader.tables, group) ?? EMPTY_GROUP)
    const access: GroupAccess = {
      owned: async () => {
        const now_ms = leaseClock_ms()
        const found = state()
        const due = !keep_alive && now_ms - renewed_ms > session_timeout_ms / 3
        if (due || found.members[member] === undefined || hasExpiredMembers(found, member, now_ms)) await renew()
        return ownedBy(state(), member)
      },
      owns: () => ownedBy(state(), member),
      ids: async () => new Map(topics.map((topic) => [topic, this.#reader.topicId(this.#reader.topic(topic))])),
      start: async (topic, partition) => this.#look((reader) => reader.start(group, topic, partition), false),
      read: (request, at_least_one) => this.#look((reader) => reader.readFor(group, request, at_least_one), false),
      changed: (wait_ms) => this.#reader.changed(wait_ms),
      now_ms: () => performance.now(),
      leave: async () => {
        this.#members.delete(consumer)
        this.#writer?.onBeat.delete(member)
        await this.#write({ kind: 'leave', group, member })
      },
    }
    const consumer = new Consumer(member, group, [...topics], access)
    this.#members.add(consumer)
    this.#writer?.onBeat.set(member, () => {
      try {
        consumer.compareOwnership()
      } catch {
        // Reading failed. The next poll reports why.
      }
    })
    return consumer
  }

  async committed(group: string): Promise<readonly Position[]> {
    return this.#look((reader) => reader.committed(group))
  }

  async integrity(): Promise<Integrity> {
    return await integrityOf(this.#fresh()).catch((error: unknown) => {
      throw refusal(this.#dir, error)
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    try {
      for (const member of [...this.#members]) await member.leave()
    } finally {
      this.#closed = true
      await this.#opened.disposeAsync()
    }
  }

  /** @param refresh false to stay on the snapshot of the last look */
  #look<T>(look: (reader: Reader) => T, refresh = true): T {
    const reader = refresh ? this.#fresh() : this.#reader
    try {
      return reader.steadily(() => look(reader))
    } catch (error) {
      throw refusal(this.#dir, error)
    }
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
