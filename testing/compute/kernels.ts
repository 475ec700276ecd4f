/** Kernels for the tests of this folder: some do their work, the others go wrong in each way that code can. */
import { writeSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { serialize } from 'node:v8'
import { threadId } from 'node:worker_threads'
import { PIPE } from '../../infra/supervise/messages.ts'
import { InvariantError, type Kernel } from '../../processors/processor.ts'

const kernel = <I, O>(name: string, runs_in: Kernel<I, O>['runs_in'] = 'thread'): Kernel<I, O> => ({
  module: import.meta.url,
  name,
  runs_in,
})

export const scaling = (runs_in?: 'process') =>
  kernel<{ readonly by: number; readonly values: Float32Array }, { readonly values: Float32Array }>('scale', runs_in)
export function scale({ by, values }: { by: number; values: Float32Array }) {
  return { values: values.map((value) => value * by) }
}

export const failing = (runs_in?: 'process') => kernel<string, never>('fail', runs_in)
export function fail(message: string): never {
  if (message.startsWith('invariant')) throw new InvariantError(message)
  throw Object.assign(new RangeError(message), { place: 7 })
}

export const endless = (runs_in?: 'process') => kernel<Int32Array, never>('spin', runs_in)
/** Raises `started[0]` in shared memory, then never returns. */
export function spin(started: Int32Array): never {
  Atomics.add(started, 0, 1)
  for (;;);
}

export const exiting = (runs_in?: 'process') => kernel<number, never>('exit', runs_in)
export function exit(code: number): never {
  process.exit(code)
}

export const crashing = kernel<null, never>('crash', 'process')
export function crash(): never {
  process.abort()
}

export const greedy = kernel<null, number>('grow', 'process')
/** Takes memory outside of the heap, which no limit of V8 holds back. */
export async function grow(): Promise<number> {
  const taken: Uint8Array[] = []
  for (;;) {
    taken.push(new Uint8Array(16 * 2 ** 20).fill(1))
    await wait(5)
  }
}

export const babbling = kernel<'bytes' | 'text' | 'length' | 'value', never>('babble', 'process')
/** Writes to the pipe what is no message, and waits for ever. */
export function babble(what: 'bytes' | 'text' | 'length' | 'value'): Promise<never> {
  const head = (length: number) => Buffer.from(Uint32Array.of(0x504c4231, length).buffer).swap32()
  const written = {
    bytes: Buffer.alloc(100, 7),
    text: Buffer.from('Segmentation fault in a native library\n'),
    length: head(2 ** 32 - 1),
    value: Buffer.concat([head(serialize('not a message').byteLength), serialize('not a message')]),
  }
  writeSync(PIPE, written[what])
  return new Promise(() => {})
}

export const pausing = (runs_in?: 'process') => kernel<number, number>('pause', runs_in)
/** @returns the thread that it ran on */
export async function pause(ms: number): Promise<number> {
  await wait(ms)
  return threadId
}

export const pidOf = kernel<null, number>('pid', 'process')
export const pid = (_: null): number => process.pid

export const absent = kernel<null, never>('notThere')
