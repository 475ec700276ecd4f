import { InvariantError, type Kernel, KernelDiedError } from '../../processors/processor.ts'
import { sleep } from '../sleep.ts'
import { ChildEndedError, SupervisedChild } from '../supervise/supervised-child.ts'
import { Admission, type Limits } from './admission.ts'
import { sizeOfValue } from './buffers.ts'
import { kernelText } from './load-kernel.ts'
import type { RunHow } from './threads.ts'

const ENTRY = new URL('./process.ts', import.meta.url)
/** After so many deaths on one input, the input or the kernel is at fault and not the host. Inferred. */
const MOST_DEATHS = 3
const FIRST_PAUSE_MS = 100

/**
 * Child processes that run kernels, each one call at a time, so that a death has one cause. A process that dies is
 * replaced and the call is run again, with a growing pause: the host may have been short of memory.
 */
export class KernelProcesses {
  readonly #memory: number
  readonly #admission: Admission
  readonly #lanes: Admission
  readonly #idle: SupervisedChild[] = []

  constructor(processes: number, memory: number, limits: Limits) {
    this.#memory = memory
    this.#admission = new Admission(limits)
    this.#lanes = new Admission({ calls: processes, bytes: Number.POSITIVE_INFINITY })
  }

  /** @throws what the kernel throws; KernelDiedError after several deaths; the signal's reason */
  async run(kernel: Kernel<never, unknown>, input: unknown, { signal }: RunHow): Promise<unknown> {
    const leave = await this.#admission.enter(sizeOfValue(input), signal)
    try {
      const leaveLane = await this.#lanes.enter(0, signal)
      try {
        return await this.#attempts(kernel, input, signal)
      } finally {
        leaveLane()
      }
    } finally {
      leave()
    }
  }

  async #attempts(kernel: Kernel<never, unknown>, input: unknown, signal: AbortSignal): Promise<unknown> {
    for (let deaths = 1, pause_ms = FIRST_PAUSE_MS; ; deaths++, pause_ms *= 4) {
      try {
        return await this.#once({ module: kernel.module, name: kernel.name, input }, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof ChildEndedError)) throw error
        if (deaths === MOST_DEATHS) {
          throw new KernelDiedError(`${kernelText(kernel)} has ended its process ${deaths} times: ${error.why}`)
        }
        await sleep(pause_ms, signal)
        signal.throwIfAborted()
      }
    }
  }

  async #once(call: unknown, signal: AbortSignal): Promise<unknown> {
    const child = this.#idle.pop() ?? this.#start()
    // A kernel that never ends hears nothing, so its process is killed.
    const kill = () => child.kill('its call was aborted')
    signal.addEventListener('abort', kill, { once: true })
    if (signal.aborted) kill()
    child.watchful = true
    try {
      return await child.call('run', call)
    } finally {
      signal.removeEventListener('abort', kill)
      child.watchful = false
      if (!child.is_over) this.#idle.push(child)
    }
  }

  #start(): SupervisedChild {
    const child = new SupervisedChild({
      entry: ENTRY,
      what: 'the kernel process',
      memory: { process: this.#memory, heap: this.#memory },
      classes: [InvariantError],
    })
    void child.ended.then(() => {
      const at = this.#idle.indexOf(child)
      if (at >= 0) this.#idle.splice(at, 1)
    })
    return child
  }

  /** Waits for the calls under way, then ends the processes. */
  async close(): Promise<void> {
    await this.#admission.close()
    await Promise.all(this.#idle.splice(0).map((child) => child.close()))
  }
}
