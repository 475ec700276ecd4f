/** What each thread of the pool runs: one kernel at a time. */
import { move, transferableSymbol, valueSymbol } from 'piscina'
import { type Failure, toFailure } from '../supervise/failure.ts'
import { transferable } from './buffers.ts'
import { type KernelCall, runKernel } from './load-kernel.ts'

export type ThreadAnswer = { readonly value: unknown } | { readonly failure: Failure }

/** An error is an answer: a thread's own error class would arrive without its fields. */
export default async function run(call: KernelCall): Promise<unknown> {
  try {
    const answer: ThreadAnswer = { value: await runKernel(call) }
    return move({ [transferableSymbol]: transferable(answer.value), [valueSymbol]: answer } as never)
  } catch (error) {
    return { failure: toFailure(error) } satisfies ThreadAnswer
  }
}
