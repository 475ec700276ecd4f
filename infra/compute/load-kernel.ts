import type { Kernel } from '../../processors/processor.ts'

/** What is sent to a thread or process. */
export type KernelName = Pick<Kernel<never, unknown>, 'module' | 'name'>

export interface KernelCall extends KernelName {
  readonly input: unknown
}

/** How messages name a kernel. */
export const kernelText = ({ module, name }: KernelName) => `kernel ${name} of ${module}`

/** Runs a kernel here, in the thread or process of the caller. @throws what the kernel throws, naming the kernel */
export async function runKernel(call: KernelCall): Promise<unknown> {
  const kernel: unknown = ((await import(call.module)) as Record<string, unknown>)[call.name]
  if (typeof kernel !== 'function') throw new TypeError(`${kernelText(call)}: the module exports no such function`)
  try {
    return await kernel(call.input)
  } catch (error) {
    if (error instanceof Error) {
      error.message = `${kernelText(call)}: ${error.message}`
      throw error
    }
    throw new Error(`${kernelText(call)} threw ${String(error)}`)
  }
}
