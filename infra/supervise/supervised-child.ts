import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type ErrorClass, fromFailure } from './failure.ts'
import { readFrames, writeFrame } from './frames.ts'
import { inGibibytes, MemoryWatch } from './memory-watch.ts'
import { type FromChild, isFromChild, PIPE, type ToChild } from './messages.ts'

export interface ChildOptions {
  /** The module that it runs; it answers with `answerStarter`. */
  readonly entry: URL
  /** How messages name it: `the DuckDB process`. */
  readonly what: string
  /** Limits, bytes: the process is killed above the first, the JavaScript heap ends at the second. */
  readonly memory: { readonly process: number; readonly heap: number }
  /** Follows "it used more than its 2.0 GiB of memory" in a message: the option that sets it, what it was doing. */
  readonly memory_note?: () => string
  readonly env?: Readonly<Record<string, string>>
  /** Error classes that callers distinguish. */
  readonly classes: readonly ErrorClass[]
  /** Receives what it reports without being asked. @returns false for what is no such report: it is killed then */
  readonly onTold?: (told: unknown) => boolean
}

/** The process ended before it answered. */
export class ChildEndedError extends Error {
  override readonly name = 'ChildEndedError'
  readonly retry = 'later'
  /** How it ended, for a person. */
  readonly why: string

  constructor(what: string, pid: number | undefined, why: string) {
    super(`${what} (pid ${pid}) has ended: ${why}`)
    this.why = why
  }
}

const LONGEST_CLOSE_MS = 30_000
/** The young generation is bounded as in every process of the program (guard.mjs). */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=16']

/**
 * A child process that answers calls. It is killed when it exceeds its memory limit, when it writes what is no message,
 * and on request; it ends itself when this process ends. Nothing that it does reaches the caller but as an error.
 */
export class SupervisedChild {
  /** Resolves to why it ended, for a person; undefined when it was asked to end. */
  readonly ended: Promise<string | undefined>
  readonly #child: ChildProcess
  readonly #pipe: Socket | undefined
  readonly #options: ChildOptions
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (cause: Error) => void }>()
  readonly #memory: MemoryWatch | undefined
  #last_id = 0
  #closing = false
  #over: ChildEndedError | undefined
  #killed_because: string | undefined
  #errors = ''

  /** Starts the process, which loads its program in the background. */
  constructor(options: ChildOptions) {
    this.#options = options
    const { entry, memory, memory_note = () => '', env: more } = options
    const { NODE_OPTIONS: _options, ...env } = process.env
    const heap = `--max-old-space-size=${Math.floor(memory.heap / 2 ** 20)}`
    this.#child = spawn(process.execPath, [...NODE_FLAGS, heap, fileURLToPath(entry)], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: { ...more, ...env },
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = `${this.#errors}${text}`.slice(-4_000)
    })
    this.#pipe = this.#child.stdio[PIPE] as Socket | undefined
    if (this.#pipe !== undefined) {
      // A write to a process that has just ended fails; its end is reported below.
      this.#pipe.on('error', () => {})
      readFrames(
        this.#pipe,
        (message) => this.#hear(message),
        (why) => this.kill(why),
      )
    }
    this.ended = this.#end()
    const { pid } = this.#child
    if (pid === undefined) return
    this.#memory = new MemoryWatch(pid, memory.process, () => {
      this.kill(`it used more than its ${inGibibytes(memory.process)} of memory${memory_note()}`)
    })
    this.#rest()
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get is_over(): boolean {
    return this.#over !== undefined || this.#killed_because !== undefined
  }

  /** Last measured, bytes. */
  get memory_bytes(): number | undefined {
    return this.#memory?.bytes
  }

  /** Measure its memory more often: it may grow fast now. */
  set watchful(watchful: boolean) {
    if (this.#memory !== undefined) this.#memory.watchful = watchful
  }

  /**
   * @param signal asks the process to end the call soon, with what it has done
   * @throws ChildEndedError when the process ends before it answers; otherwise what the call throws
   */
  call<T>(call: string, options?: unknown, signal?: AbortSignal): Promise<T> {
    if (this.#over !== undefined) return Promise.reject(this.#over)
    const id = ++this.#last_id
    const cancel = () => this.#send({ kind: 'cancel', id })
    const answer = new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#rest()
      this.#send({ kind: 'call', id, call, options })
      signal?.addEventListener('abort', cancel, { once: true })
      if (signal?.aborted) cancel()
    })
    return answer.finally(() => signal?.removeEventListener('abort', cancel))
  }

  /** Lets it finish its work; kills it if that takes too long. */
  async close(): Promise<void> {
    this.#closing = true
    const late = setTimeout(() => this.#child.kill('SIGKILL'), LONGEST_CLOSE_MS)
    await this.call('close').catch(() => {})
    await this.ended
    clearTimeout(late)
  }

  /** Ends it at once; its calls throw ChildEndedError with this reason. */
  kill(because: string): void {
    this.#killed_because ??= because
    this.#child.kill('SIGKILL')
  }

  #send(message: ToChild): void {
    // If it cannot be sent, the call is rejected when the process ends.
    if (this.#pipe !== undefined) writeFrame(this.#pipe, message)
  }

  #hear(message: unknown): void {
    if (!isFromChild(message)) this.kill('it wrote a message of no known kind')
    else if (message.kind !== 'told') this.#answer(message)
    else if (!this.#options.onTold?.(message.told)) this.kill('it reported something of no known kind')
  }

  #answer(message: Exclude<FromChild, { kind: 'told' }>): void {
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    this.#rest()
    if (message.kind === 'done') waiting?.resolve(message.value as never)
    else waiting?.reject(fromFailure(message.failure, this.#options.classes))
  }

  /** A process without a call does not keep this one alive. */
  #rest(): void {
    for (const handle of [this.#child, this.#pipe, this.#child.stderr as Socket | null]) {
      if (this.#waiting.size > 0) handle?.ref()
      else handle?.unref()
    }
  }

  async #end(): Promise<string | undefined> {
    const [code, signal] = await once(this.#child, 'close').catch((cause: Error) => {
      this.#errors = cause.message // it could not be started
      return [null, null]
    })
    this.#memory?.stop()
    const why = this.#killed_because ?? howItEnded(code, signal, this.#errors)
    this.#over = new ChildEndedError(this.#options.what, this.pid, why)
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
