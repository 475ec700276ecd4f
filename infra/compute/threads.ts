import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { InvariantError, type Kernel } from '../../processors/processor.ts'
import { fromFailure } from '../supervise/failure.ts'
import { Admission, type Limits } from './admission.ts'
import { sizeOfValue } from './buffers.ts'
import { kernelText } from './load-kernel.ts'
import type { ThreadAnswer } from './thread.ts'

const THREAD = fileURLToPath(new URL('./thread.ts', import.meta.url))
/** A thread without work ends after this: it holds the memory of every module that it has loaded. */
const IDLE_MS = 30_000

/** A thread ended while it ran a kernel, for example by `process.exit`. */
export class ThreadEndedError extends Error {
  override readonly name = 'ThreadEndedError'
  readonly retry = 'never'
}

/** Threads that run kernels. The first call starts the first one; idle threads do not keep the process alive. */
export class Threads {
  readonly #pool: Piscina
  readonly #admission: Admission

  constructor(threads: number, limits: Limits) {
    this.#admission = new Admission(limits)
    this.#pool = new Piscina({
      filename: THREAD,
      minThreads: 0,
      maxThreads: threads,
      maxQueue: limits.calls,
      idleTimeout: IDLE_MS,
      // Waiting synchronously would stop what a kernel has left running, such as a timer.
      atomics: 'disabled',
      recordTiming: false,
    })
  }

  /** @throws what the kernel throws; ThreadEndedError; the signal's reason */
  async run(kernel: Kernel<never, unknown>, input: unknown, how: RunHow): Promise<unknown> {
    const { signal, transfer = [] } = how
    const leave = await this.#admission.enter(sizeOfValue(input), signal)
    try {
      const call = { module: kernel.module, name: kernel.name, input }
      const answer: ThreadAnswer = await this.#pool.run(call, { signal, transferList: [...transfer] })
      if ('failure' in answer) throw fromFailure(answer.failure, [InvariantError])
      return answer.value
    } catch (error) {
      signal.throwIfAborted()
      throw ended(kernel, error)
    } finally {
      leave()
    }
  }

  /** Waits for the calls under way. */
  async close(): Promise<void> {
    await this.#admission.close()
    await this.#pool.close()
  }
}

export interface RunHow {
  readonly signal: AbortSignal
  readonly transfer?: readonly ArrayBuffer[]
}

function ended(kernel: Kernel<never, unknown>, error: unknown): unknown {
  const exited = error instanceof Error && /^worker exited with code: (\d+)$/i.exec(error.message)
  if (!exited) return error
  return new ThreadEndedError(`${kernelText(kernel)} ended its thread with exit code ${exited[1]}`)
}
