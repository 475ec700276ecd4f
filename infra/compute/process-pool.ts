import { KernelDiedError } from '../../processors/processor.ts'
import { sleep } from '../sleep.ts'
import { ChildEndedError, type ChildOptions, SupervisedChild } from '../supervise/supervised-child.ts'
import { Admission, type Limits } from './admission.ts'

/** After so many deaths on one input, the input or what is run is at fault and not the host. Inferred. */
const MOST_DEATHS = 3
const FIRST_PAUSE_MS = 100

export interface ProcessPoolOptions extends Pick<ChildOptions, 'entry' | 'what' | 'classes'> {
  readonly processes: number
  /** Memory limit of each, bytes. */
  readonly memory: number
  /** Of the uses that run or wait. */
  readonly limits: Limits
}

/**
 * Supervised child processes, each used by one caller at a time, so that a death has one cause. A process that dies is
 * replaced and the work is done again, with a growing pause: the host may have been short of memory.
 */
export class ProcessPool {
  readonly #options: ProcessPoolOptions
  readonly #admission: Admission
  readonly #lanes: Admission
  readonly #idle: SupervisedChild[] = []

  constructor(options: ProcessPoolOptions) {
    this.#options = options
    this.#admission = new Admission(options.limits)
    this.#lanes = new Admission({ calls: options.processes, bytes: Number.POSITIVE_INFINITY })
  }

  /**
   * @param what is run, for messages
   * @param bytes of its input
   * @param use what to do with a process; again with another one if it dies
   * @throws what `use` throws; KernelDiedError after several deaths; the signal's reason
   */
  async run<T>(
    what: string,
    bytes: number,
    signal: AbortSignal,
    use: (child: SupervisedChild) => Promise<T>,
  ): Promise<T> {
    const leave = await this.#admission.enter(bytes, signal)
    try {
      const leaveLane = await this.#lanes.enter(0, signal)
      try {
        return await this.#attempts(what, signal, use)
      } finally {
        leaveLane()
      }
    } finally {
      leave()
    }
  }

  async #attempts<T>(what: string, signal: AbortSignal, use: (child: SupervisedChild) => Promise<T>): Promise<T> {
    for (let deaths = 1, pause_ms = FIRST_PAUSE_MS; ; deaths++, pause_ms *= 4) {
      try {
        return await this.#once(signal, use)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof ChildEndedError)) throw error
        if (deaths === MOST_DEATHS) {
          throw new KernelDiedError(`${what} has ended its process ${deaths} times: ${error.why}`)
        }
        await sleep(pause_ms, signal)
        signal.throwIfAborted()
      }
    }
  }

  async #once<T>(signal: AbortSignal, use: (child: SupervisedChild) => Promise<T>): Promise<T> {
    const child = this.#idle.pop() ?? this.#start()
    // What never ends hears nothing, so its process is killed.
    const kill = () => child.kill('its call was aborted')
    signal.addEventListener('abort', kill, { once: true })
    if (signal.aborted) kill()
    child.watchful = true
    try {
      return await use(child)
    } finally {
      signal.removeEventListener('abort', kill)
      child.watchful = false
      if (!child.is_over) this.#idle.push(child)
    }
  }

  #start(): SupervisedChild {
    const { entry, what, classes, memory } = this.#options
    const child = new SupervisedChild({ entry, what, classes, memory: { process: memory, heap: memory } })
    void child.ended.then(() => {
      const at = this.#idle.indexOf(child)
      if (at >= 0) this.#idle.splice(at, 1)
    })
    return child
  }

  /** Waits for the uses under way, then ends the processes. */
  async close(): Promise<void> {
    await this.#admission.close()
    await Promise.all(this.#idle.splice(0).map((child) => child.close()))
  }
}
