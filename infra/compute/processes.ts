import { InvariantError, type Kernel } from '../../processors/processor.ts'
import type { Limits } from './admission.ts'
import { sizeOfValue } from './buffers.ts'
import { kernelText } from './load-kernel.ts'
import { ProcessPool } from './process-pool.ts'
import type { RunHow } from './threads.ts'

/** Child processes that run kernels, each one call at a time. */
export class KernelProcesses {
  readonly #pool: ProcessPool

  constructor(processes: number, memory: number, limits: Limits) {
    const entry = new URL('./process.ts', import.meta.url)
    this.#pool = new ProcessPool({
      ...{ entry, what: 'the kernel process', classes: [InvariantError] },
      ...{ processes, memory, limits },
    })
  }

  /** @throws what the kernel throws; KernelDiedError after several deaths; the signal's reason */
  async run(kernel: Kernel<never, unknown>, input: unknown, { signal }: RunHow): Promise<unknown> {
    const call = { module: kernel.module, name: kernel.name, input }
    return await this.#pool.run(kernelText(kernel), sizeOfValue(input), signal, (child) => child.call('run', call))
  }

  /** Waits for the calls under way, then ends the processes. */
  async close(): Promise<void> {
    await this.#pool.close()
  }
}
