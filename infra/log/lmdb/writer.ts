import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { LogBusyError } from '../port/log.ts'
import { BLOCK_BYTES } from './chunk.ts'
import { LastTransaction } from './last-transaction.ts'
import { describeThread, LockWord } from './lock-word.ts'
import { refusal } from './refusal.ts'
import { type FromWriter, type Request, type ToWriter, toFailure, type WriterOptions } from './request.ts'
import { expectRoom } from './room.ts'
import { Store } from './store.ts'
import { checkFormat, closeTables, FORMAT, openTables, type Tables } from './tables.ts'
import { writeTopicNames } from './topic-names.ts'

/**
 * The thread that writes. LMDB has one writer at a time per folder, and its lock, its flushes and a full queue block
 * the waiting thread: this one, never the event loop. It also keeps members alive while the process computes.
 * Requests that queued up meanwhile share one LMDB transaction and one flush.
 */
class Writer {
  readonly #options: WriterOptions
  readonly #opened: AsyncDisposableStack
  readonly #tables: Tables
  readonly #store: Store
  readonly #lock: LockWord
  readonly #last: LastTransaction
  readonly #heartbeats = new Map<string, NodeJS.Timeout>()
  readonly #say: (message: FromWriter) => void

  private constructor(options: WriterOptions, say: (message: FromWriter) => void, opened: AsyncDisposableStack) {
    this.#options = options
    this.#say = say
    this.#opened = opened
    this.#tables = opened.adopt(openTables(options.dir, false, options.durability), closeTables)
    this.#lock = opened.adopt(new LockWord(join(options.dir, 'lock.mdb')), (it) => it.close())
    this.#last = opened.adopt(new LastTransaction(options.dir), (it) => it.close())
    this.#store = new Store(this.#tables, `lmdb:${options.dir}`)
  }

  /**
   * Closes what it has opened if it fails.
   *
   * @param say sends a message after each heartbeat
   */
  static async open(options: WriterOptions, say: (message: FromWriter) => void): Promise<Writer> {
    const note = join(options.dir, 'lock-word.json')
    const opened = new AsyncDisposableStack()
    try {
      if (existsSync(note)) await awaitLockToOpen(options, note)
      const writer = new Writer(options, say, opened)
      writer.#begin(note)
      return writer
    } catch (error) {
      await opened.disposeAsync()
      throw error
    }
  }

  #begin(note: string): void {
    const after = this.#transaction(() => {
      const found = this.#tables.catalog.get(['format'])
      if (found !== undefined) checkFormat(this.#options.dir, found)
      if (found !== FORMAT) this.#tables.catalog.putSync(['format'], FORMAT)
      // A new log gets its id here; a log of an earlier release gets it when it is first opened for writing.
      if (this.#tables.catalog.get(['log_id']) === undefined) this.#tables.catalog.putSync(['log_id'], randomUUID())
      writeTopicNames(this.#options.dir, this.#tables)
      return this.#lock.find()
    })
    after()
    this.#lock.note(note)
  }

  /** Applies all requests in one LMDB transaction. A refused request does not affect the others. */
  handle(asked: readonly Asked[]): FromWriter[] {
    for (const { request } of asked) if (request.kind === 'leave') this.#letDie(request.member)
    try {
      awaitLock(this.#options, this.#lock)
      const answers = this.#transaction(() => {
        const requests = asked.map(({ request }) => request)
        expectRoom(this.#options.dir, this.#tables, requests)
        const answers = asked.map(({ id, request }) => this.#answer(id, request))
        if (requests.some(({ kind }) => kind === 'createTopics')) writeTopicNames(this.#options.dir, this.#tables)
        return answers
      })
      asked.forEach(({ request }, i) => {
        if (answers[i]?.kind === 'done') this.#keepAlive(request)
      })
      return answers
    } catch (error) {
      // Nothing was written. Retry each alone, so that one request's failure does not fail the others.
      if (asked.length > 1 && !(error instanceof LogBusyError)) return asked.flatMap((one) => this.handle([one]))
      const failure = toFailure(refusal(this.#options.dir, error))
      return asked.map(({ id }) => ({ kind: 'failed', id, failure }))
    }
  }

  /** Runs `work` in a write transaction that follows the newest one. */
  #transaction<T>(work: () => T): T {
    const { env } = this.#tables
    for (;;) {
      const done = env.transactionSync(() => {
        return this.#last.isPredecessor(numberOf(env)) ? { value: work() } : undefined
      })
      if (done !== undefined) return done.value
    }
  }

  #answer(id: number, request: Request): FromWriter {
    try {
      const value = this.#store.apply(request)
      return { kind: 'done', id, value, memory: blocksOf(request) }
    } catch (error) {
      // LMDB's own errors carry a code. They invalidate the transaction, as does any error after a put.
      if (this.#store.half_done || (error as { code?: unknown }).code !== undefined) throw error
      return { kind: 'failed', id, failure: toFailure(error) }
    }
  }

  #keepAlive(request: Request): void {
    if (request.kind !== 'renew' || !request.keep_alive || this.#heartbeats.has(request.member)) return
    const { member, session_timeout_ms } = request
    const beat = () => {
      this.handle([{ id: 0, request }])
      this.#say({ kind: 'beat', member })
    }
    this.#heartbeats.set(member, setInterval(beat, session_timeout_ms / 3))
  }

  /** Called even if the leave cannot be written: a member that no longer polls must not keep its partitions. */
  #letDie(member: string): void {
    clearInterval(this.#heartbeats.get(member))
    this.#heartbeats.delete(member)
  }

  async close(): Promise<void> {
    for (const timer of this.#heartbeats.values()) clearInterval(timer)
    await this.#opened.disposeAsync()
  }
}

/** Opening for writing takes the lock. Opening for reading does not, so the lock can be watched first. */
async function awaitLockToOpen(options: WriterOptions, note: string): Promise<void> {
  await using opened = new AsyncDisposableStack()
  opened.adopt(openTables(options.dir, true, options.durability), closeTables)
  const lock = opened.adopt(new LockWord(join(options.dir, 'lock.mdb')), (it) => it.close())
  lock.recall(note)
  awaitLock(options, lock)
}

/** @throws LogBusyError when another process holds the lock for longer than the limit. */
function awaitLock({ dir, lock_wait_ms }: WriterOptions, lock: LockWord): void {
  const start_ms = performance.now()
  for (let pause_ms = 0.05; ; pause_ms = Math.min(pause_ms * 1.5, 5)) {
    const holder = lock.holder()
    if (holder === 0) return
    const waited_ms = performance.now() - start_ms
    if (waited_ms > lock_wait_ms) {
      throw new LogBusyError(
        `lmdb:${dir}: waited ${(waited_ms / 1000).toFixed(1)} s for the write lock, which ` +
          `${describeThread(holder)} holds. Nothing was written. Resume that process (kill -CONT) or end it, then retry.`,
      )
    }
    Atomics.wait(PAUSE, 0, 0, pause_ms)
  }
}

/** Number of the current write transaction; the declarations of lmdb-js lack it. */
const numberOf = (env: Tables['env']) => (env as unknown as { getWriteTxnId(): number }).getWriteTxnId()

/** Memory blocks of a commit that can be returned for reuse: LMDB has copied their content. */
function blocksOf(request: Request): readonly ArrayBuffer[] {
  if (request.kind !== 'commit') return NONE
  const blocks = new Set<ArrayBuffer>()
  for (const { chunks } of request.appends) {
    for (const { bytes } of chunks) {
      if (bytes.buffer.byteLength === BLOCK_BYTES) blocks.add(bytes.buffer as ArrayBuffer)
    }
  }
  return [...blocks]
}

const NONE: readonly ArrayBuffer[] = []

type Asked = Exclude<ToWriter, 'close'>

const PAUSE = new Int32Array(new SharedArrayBuffer(4))

async function start(): Promise<void> {
  const port = parentPort
  if (port === null) throw new Error('writer.ts runs as the thread of a log, not by itself.')
  const say = (message: FromWriter) => {
    const memory = message.kind === 'done' ? message.memory : undefined
    port.postMessage(message, [...(memory ?? [])])
  }
  say({ kind: 'opening' })
  let writer: Writer
  try {
    writer = await Writer.open(workerData as WriterOptions, say)
  } catch (error) {
    say({ kind: 'refused', failure: toFailure(refusal((workerData as WriterOptions).dir, error)) })
    port.close()
    return
  }
  port.on('message', async (first: ToWriter) => {
    const asked: Asked[] = []
    let closing = false
    for (let next: { message: ToWriter } | undefined = { message: first }; next; next = receiveMessageOnPort(port)) {
      if (next.message === 'close') closing = true
      else asked.push(next.message)
    }
    if (asked.length > 0) for (const answer of writer.handle(asked)) say(answer)
    if (!closing) return
    await writer.close()
    say({ kind: 'closed' })
    port.close()
  })
  say({ kind: 'opened' })
}

await start()
