import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import {
  DatabaseBusyError,
  DatabaseDamagedError,
  DatabaseProcessEndedError,
  NoDatabaseError,
} from '../database-errors.ts'
import type { TablesHealth } from '../tables-sink.ts'
import { inGibibytes, type MemoryShares, MemoryWatch } from './memory.ts'
import { type Call, type FromProcess, fromFailure, type ToProcess } from './messages.ts'
import { QuestionWatch } from './question-watch.ts'

export interface DatabaseProcessOptions {
  /** The module that it runs; it answers with `answerStarter`. */
  readonly entry: URL
  readonly memory: MemoryShares
  readonly report?: (message: string) => void
  readonly onHealth?: (health: TablesHealth) => void
}

/** Error classes that callers distinguish. */
const CLASSES = [DatabaseBusyError, DatabaseDamagedError, NoDatabaseError]
const LONGEST_CLOSE_MS = 30_000
/**
 * Each step of a statement occupies one of Node's threads. With Node's default of four, four long questions would stop
 * loading and block all others; this is enough for all that are answered at once.
 */
const THREADS = '16'
/** The young generation is bounded as in every process of the program (guard.mjs). */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=16']

/**
 * A child process that has a DuckDB file open. It is killed when it exceeds its memory limit or when a question exceeds
 * its time limit, and it ends itself when this process ends.
 */
export class DatabaseProcess {
  /** Resolves to why it ended, for a person; undefined when it was asked to end. */
  readonly ended: Promise<string | undefined>
  readonly #child: ChildProcess
  readonly #options: DatabaseProcessOptions
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (cause: Error) => void }>()
  readonly #memory: MemoryWatch | undefined
  readonly #questions: QuestionWatch
  #last_id = 0
  #closing = false
  #over: DatabaseProcessEndedError | undefined
  #killed_because: string | undefined
  #errors = ''

  /** Starts the process, which loads its program in the background. The first call must be `open`. */
  constructor(options: DatabaseProcessOptions) {
    this.#options = options
    const { entry, memory } = options
    const { NODE_OPTIONS: _options, ...env } = process.env
    const heap = `--max-old-space-size=${Math.floor(memory.heap / 2 ** 20)}`
    this.#child = spawn(process.execPath, [...NODE_FLAGS, heap, fileURLToPath(entry)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
      env: { UV_THREADPOOL_SIZE: THREADS, ...env },
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = `${this.#errors}${text}`.slice(-4_000)
    })
    this.#child.on('message', (message) => this.#hear(message as FromProcess))
    this.ended = this.#end()
    this.#questions = new QuestionWatch((limit_ms) =>
      this.#kill(`a question went on after its time limit of ${limit_ms / 1_000} s, and could not be interrupted`),
    )
    const { pid } = this.#child
    if (pid === undefined) return
    this.#memory = new MemoryWatch(pid, memory.process, () => {
      const asked = this.#questions.count > 0 ? ' while it answered questions' : ''
      this.#kill(`it took more than its ${inGibibytes(memory.process)} of memory (--sql-memory)${asked}`)
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Last measured, bytes. */
  get memory_bytes(): number | undefined {
    return this.#memory?.bytes
  }

  /**
   * @param signal asks the process to end the call soon, with what it has done
   * @throws DatabaseProcessEndedError when the process ends before it answers; otherwise what the call throws
   */
  call<T>(call: Call, signal?: AbortSignal): Promise<T> {
    if (this.#over !== undefined) return Promise.reject(this.#over)
    const id = ++this.#last_id
    const cancel = () => this.#send({ kind: 'cancel', id })
    const answer = new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#send({ kind: 'call', id, ...call })
      signal?.addEventListener('abort', cancel, { once: true })
      if (signal?.aborted) cancel()
    })
    return answer.finally(() => signal?.removeEventListener('abort', cancel))
  }

  /** Lets it finish its work and close the file; kills it if that takes too long. */
  async close(): Promise<void> {
    this.#closing = true
    const late = setTimeout(() => this.#child.kill('SIGKILL'), LONGEST_CLOSE_MS)
    await this.call({ call: 'close' }).catch(() => {})
    await this.ended
    clearTimeout(late)
  }

  #kill(because: string): void {
    this.#killed_because ??= because
    this.#child.kill('SIGKILL')
  }

  #send(message: ToProcess): void {
    // If it cannot be sent, the call is rejected when the process ends.
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  #hear(message: FromProcess): void {
    switch (message.kind) {
      case 'done':
        this.#take(message.id)?.resolve(message.value as never)
        return
      case 'failed':
        this.#take(message.id)?.reject(fromFailure(message.failure, CLASSES))
        return
      case 'report':
        this.#options.report?.(message.message)
        return
      case 'health':
        this.#options.onHealth?.(message.health)
        return
      case 'question':
        this.#questions.begin(message.question, message.time_limit_ms)
        break
      case 'answered':
        this.#questions.end(message.question)
    }
    if (this.#memory !== undefined) this.#memory.watchful = this.#questions.count > 0
  }

  #take(id: number) {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    return waiting
  }

  async #end(): Promise<string | undefined> {
    const [code, signal] = await once(this.#child, 'close').catch((cause: Error) => {
      this.#errors = cause.message // it could not be started
      return [null, null]
    })
    this.#memory?.stop()
    this.#questions.stop()
    const why = this.#killed_because ?? howItEnded(code, signal, this.#errors)
    this.#over = new DatabaseProcessEndedError(`the DuckDB process (pid ${this.pid}) has ended: ${why}`)
    for (const { reject } of this.#waiting.values()) reject(this.#over)
    this.#waiting.clear()
    return this.#closing && this.#killed_because === undefined ? undefined : why
  }
}

function howItEnded(code: number | null, signal: string | null, errors: string): string {
  const said = errors.split('\n').find((line) => /error|fatal|assert/i.test(line)) ?? ''
  const words = said === '' ? '' : `: ${said.trim()}`
  if (signal === 'SIGKILL') return 'it got SIGKILL, from a person or from the system for want of memory'
  return signal === null ? `it ended with exit code ${code}${words}` : `it crashed with ${signal}${words}`
}
