import { Worker } from 'node:worker_threads'
import { LogBusyError } from '../port/log.ts'
import { type FromWriter, fromFailure, type Request, type ToWriter, type WriterOptions } from './request.ts'

/** Memory blocks retained for later transactions: 8 MiB. */
const SPARE_BLOCKS = 32

/** The event loop's side of the writer. */
export class WriterThread {
  /** Memory blocks that the thread has returned for reuse. */
  readonly spare: ArrayBuffer[] = []
  /** By member, called after each of its heartbeats. */
  readonly onBeat = new Map<string, () => void>()
  readonly #options: WriterOptions
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #onWrite: () => void
  #last = 0
  #dead: Error | undefined
  #closing = false

  private constructor(options: WriterOptions, onWrite: () => void) {
    this.#options = options
    this.#onWrite = onWrite
    this.#worker = new Worker(new URL('./writer.ts', import.meta.url), { workerData: options })
  }

  /** Starts the thread and waits until it has opened the folder. */
  static async start(options: WriterOptions, onWrite: () => void): Promise<WriterThread> {
    const writer = new WriterThread(options, onWrite)
    await new Promise<void>((resolve, reject) => {
      let late: NodeJS.Timeout | undefined
      const hear = (message: FromWriter) => {
        // The timer starts only here: the time that a busy machine needs to start a thread is not a wait for the lock.
        if (message.kind === 'opening') {
          late = setTimeout(() => settle(() => reject(writer.#stuck('to open'))), options.lock_wait_ms + GRACE_MS)
        } else if (message.kind === 'opened') settle(resolve)
        else if (message.kind === 'refused') settle(() => reject(fromFailure(message.failure)))
      }
      const settle = (act: () => void) => {
        clearTimeout(late)
        writer.#worker.off('message', hear)
        act()
      }
      writer.#worker.once('error', (error) => settle(() => reject(error)))
      writer.#worker.on('message', hear)
    }).catch((error: unknown) => {
      // A thread that waits in the mutex opens the folder later: without this, it would keep it open.
      writer.#worker.postMessage('close' satisfies ToWriter)
      writer.#worker.unref()
      throw error
    })
    writer.#worker.on('message', (message: FromWriter) => writer.#hear(message))
    writer.#worker.on('error', (error) => writer.#die(error))
    writer.#worker.on('exit', () => writer.#die(new Error(`lmdb:${options.dir}: the log was closed.`)))
    writer.#worker.unref()
    return writer
  }

  async ask(request: Request, transfer: ArrayBuffer[] = []): Promise<unknown> {
    if (this.#dead !== undefined) throw this.#dead
    this.#last += 1
    const id = this.#last
    const answer = new Promise<unknown>((resolve, reject) => {
      // The thread itself gives up earlier, unless it waits in the mutex. Then the write may still succeed.
      const warn = () => process.emitWarning(this.#stuck('to write').message, 'LogBusyWarning')
      const late = setTimeout(warn, this.#options.lock_wait_ms + GRACE_MS)
      this.#waiting.set(id, { resolve, reject, late })
    })
    this.#worker.ref()
    this.#worker.postMessage({ id, request } satisfies ToWriter, transfer)
    return await answer
  }

  async close(): Promise<void> {
    if (this.#dead !== undefined) return
    this.#closing = true
    this.#worker.ref()
    const gone = new Promise((resolve) => this.#worker.once('exit', resolve))
    this.#worker.postMessage('close' satisfies ToWriter)
    await gone
  }

  #hear(message: FromWriter): void {
    if (message.kind === 'beat') this.onBeat.get(message.member)?.()
    if (message.kind !== 'done' && message.kind !== 'failed') return
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    clearTimeout(waiting?.late)
    // While closing, the process waits for the thread, which answers all earlier requests.
    if (this.#waiting.size === 0 && !this.#closing) this.#worker.unref()
    if (message.kind === 'failed') waiting?.reject(fromFailure(message.failure))
    else {
      if (message.memory !== undefined && this.spare.length < SPARE_BLOCKS) this.spare.push(...message.memory)
      waiting?.resolve(message.value)
      this.#onWrite()
    }
  }

  #die(error: Error): void {
    this.#dead ??= error
    for (const { reject, late } of this.#waiting.values()) {
      clearTimeout(late)
      reject(this.#dead)
    }
    this.#waiting.clear()
  }

  #stuck(purpose: string): LogBusyError {
    return new LogBusyError(
      `lmdb:${this.#options.dir}: waited longer than ${this.#options.lock_wait_ms / 1000} s ${purpose}. Expected other ` +
        'processes to write for moments only; one of them may be stopped while it writes: resume it (kill -CONT) or end it.',
    )
  }
}

/** How long the event loop waits beyond the thread's own limit before it reports. */
const GRACE_MS = 2_000

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  readonly late: NodeJS.Timeout
}
