import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { InvariantError, KernelDiedError } from '../../processors/processor.ts'
import {
  babbling,
  crashing,
  endless,
  exiting,
  failing,
  greedy,
  pausing,
  pidOf,
  scaling,
} from '../../testing/compute/kernels.ts'
import { KernelProcesses } from './processes.ts'

const NEVER = new AbortController().signal
const LIMIT = { timeout: 120_000 }
let processes: KernelProcesses | undefined
const open = (count = 1) => {
  const opened = new KernelProcesses(count, 512 * 2 ** 20, { calls: 64, bytes: 2 ** 28 })
  processes = opened
  return (kernel: unknown, input: unknown, signal = NEVER) => opened.run(kernel as never, input, { signal })
}
afterEach(() => processes?.close())

test('a kernel runs in another process, which is reused, and its errors keep their stack', LIMIT, async () => {
  const run = open()
  const values = Float32Array.of(1, 2, 3)
  expect(await run(scaling('process'), { by: 2, values })).toEqual({ values: Float32Array.of(2, 4, 6) })
  const pid = await run(pidOf, null)
  expect(pid).not.toBe(process.pid)
  const failed = (await run(failing('process'), 'too wide').catch((error: unknown) => error)) as Error
  expect(failed).toMatchObject({ name: 'RangeError', place: 7 })
  expect(failed.stack).toMatch(/at fail \(.*kernels\.ts:\d+:\d+\)/)
  await expect(run(failing('process'), 'invariant')).rejects.toThrow(InvariantError)
  expect(await run(pidOf, null)).toBe(pid)
})

test('a process that is killed is replaced, and its call runs again', LIMIT, async () => {
  const run = open()
  const pid = await run(pidOf, null)
  const pausingCall = run(pausing('process'), 500)
  setTimeout(() => process.kill(pid as number, 'SIGKILL'), 100)
  expect(await pausingCall).toBe(0)
  expect(await run(pidOf, null)).not.toBe(pid)
})

test(
  'a kernel that crashes or exits on one input each time fails that call, as a bug, and no other',
  LIMIT,
  async () => {
    const run = open()
    const crashed = await run(crashing, null).catch((error: unknown) => error)
    expect(crashed).toBeInstanceOf(KernelDiedError)
    expect(crashed).toMatchObject({ retry: 'never' })
    expect(String(crashed)).toMatch(/kernel crash of .* has ended its process 3 times: it crashed with SIGABRT/)
    await expect(run(exiting('process'), 3)).rejects.toThrow(/3 times: it ended with exit code 3/)
    expect(await run(pausing('process'), 0)).toBe(0)
  },
)

test('a kernel that takes more memory than its limit is ended, and the limit is named', LIMIT, async () => {
  const run = open()
  await expect(run(greedy, null)).rejects.toThrow(/it used more than its 0\.5 GiB of memory/)
  expect(await run(pausing('process'), 0)).toBe(0)
})

test.for(['bytes', 'text', 'length', 'value'] as const)(
  'a process that writes rubbish (%s) to its pipe is ended; the process that started it is not',
  LIMIT,
  async (what) => {
    const run = open()
    await expect(run(babbling, what)).rejects.toThrow(/3 times: it wrote (bytes that are no|a) message/)
    expect(await run(pausing('process'), 0)).toBe(0)
  },
)

test('an abort ends the process of a kernel that never returns', LIMIT, async () => {
  const run = open()
  const pid = (await run(pidOf, null)) as number
  const stop = new AbortController()
  const spinning = run(endless('process'), new Int32Array(1), stop.signal)
  setTimeout(() => stop.abort(new Error('no longer wanted')), 200)
  await expect(spinning).rejects.toThrow('no longer wanted')
  if (process.platform === 'linux') await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false)
  expect(await run(pausing('process'), 0)).toBe(0)
})

test('a process ends with its starter, also while a kernel never returns', LIMIT, async ({ skip }) => {
  if (process.platform !== 'linux') skip('it looks for the process in /proc')
  const starter = spawn(
    process.execPath,
    [fileURLToPath(new URL('../../testing/compute/starter.ts', import.meta.url))],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const lines = createInterface({ input: starter.stdout })[Symbol.asyncIterator]()
  const pid = (await lines.next()).value
  expect((await lines.next()).value).toBe('spinning')
  expect(existsSync(`/proc/${pid}`)).toBe(true)
  starter.kill('SIGKILL')
  await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 30_000 }).toBe(false)
})
