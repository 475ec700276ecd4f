import { availableParallelism } from 'node:os'
import type { Compute, Kernel } from '../../processors/processor.ts'
import { DEFAULT_LIMITS, type Limits } from './admission.ts'
import type { KernelProcesses } from './processes.ts'
import type { RunHow, Threads } from './threads.ts'

export interface ComputeOptions {
  /** Default: one fewer than the cores that this process may use, since the event loop needs one too. */
  readonly threads?: number
  /** Child processes for kernels that run in one. */
  readonly processes?: number
  /** Memory limit of each of these, bytes. */
  readonly process_memory?: number
  /** Of the calls that run or wait, for the threads and the processes each. */
  readonly limits?: Limits
}

/** Bytes, of each child process. */
export const PROCESS_MEMORY = 2 * 2 ** 30

/**
 * Where kernels run. Several tasks share one: it bounds what waits in calls and bytes, and callers wait for room. The
 * first call loads the code and starts a thread or process: most programs run no kernel.
 */
export class ComputePool {
  readonly #options: ComputeOptions
  #threads: Promise<Threads> | undefined
  #processes: Promise<KernelProcesses> | undefined

  constructor(options: ComputeOptions = {}) {
    this.#options = options
  }

  async run<I, O>(kernel: Kernel<I, O>, input: I, how: RunHow): Promise<O> {
    const where = kernel.runs_in === 'thread' ? this.#openThreads() : this.#openProcesses()
    return (await (await where).run(kernel as Kernel<never, unknown>, input, how)) as O
  }

  /** Waits for the calls under way, then ends the threads and processes. */
  async close(): Promise<void> {
    const open = await Promise.all([this.#threads, this.#processes])
    await Promise.all(open.map((pool) => pool?.close()))
  }

  #openThreads(): Promise<Threads> {
    const { threads = Math.max(1, availableParallelism() - 1), limits = DEFAULT_LIMITS } = this.#options
    this.#threads ??= import('./threads.ts').then(({ Threads }) => new Threads(threads, limits))
    return this.#threads
  }

  #openProcesses(): Promise<KernelProcesses> {
    const { processes = 1, process_memory = PROCESS_MEMORY, limits = DEFAULT_LIMITS } = this.#options
    this.#processes ??= import('./processes.ts').then(
      ({ KernelProcesses }) => new KernelProcesses(processes, process_memory, limits),
    )
    return this.#processes
  }
}

/** As a transform sees it: every call aborts with its signal. */
export function computeFor(pool: Pick<ComputePool, 'run'>, signal: AbortSignal): Compute {
  return { run: (kernel, input, options) => pool.run(kernel, input, { signal, ...options }) }
}

let shared: ComputePool | undefined

/** The pool of this process: every stage shares its threads. They end with the process. */
export function sharedCompute(): ComputePool {
  shared ??= new ComputePool()
  return shared
}
