import { afterEach, expect, test } from 'vitest'
import { InvariantError } from '../../processors/processor.ts'
import { absent, endless, exiting, failing, pausing, scaling } from '../../testing/compute/kernels.ts'
import { ComputePool, computeFor } from './compute.ts'

const NEVER = new AbortController().signal
let pool: ComputePool
const open = (threads: number, limits = { calls: 64, bytes: 2 ** 28 }) => {
  pool = new ComputePool({ threads, limits })
  return computeFor(pool, NEVER)
}
afterEach(() => pool.close())

test('a kernel returns its result; transferred buffers leave the caller, others stay', async () => {
  const compute = open(1)
  const kept = Float32Array.of(1, 2, 3)
  expect(await compute.run(scaling(), { by: 2, values: kept })).toEqual({ values: Float32Array.of(2, 4, 6) })
  expect(kept).toEqual(Float32Array.of(1, 2, 3))
  const given = Float32Array.of(1, 2, 3)
  await compute.run(scaling(), { by: 2, values: given }, { transfer: [given.buffer] })
  expect(given).toHaveLength(0)
})

test('an error keeps its class of fault, its fields, the kernel and the place in its code', async () => {
  const compute = open(1)
  const failed = await compute.run(failing(), 'too wide').catch((error: unknown) => error)
  expect(failed).toMatchObject({ name: 'RangeError', place: 7, retry: 'never' })
  expect((failed as Error).message).toMatch(/^kernel fail of .*kernels\.ts: too wide$/)
  expect((failed as Error).stack).toMatch(/at fail \(.*kernels\.ts:\d+:\d+\)/)
  await expect(compute.run(failing(), 'invariant 3')).rejects.toThrow(InvariantError)
  await expect(compute.run(absent, null)).rejects.toThrow(/kernel notThere of .*: the module exports no such function/)
  expect(await compute.run(pausing(), 0)).toBeGreaterThan(0)
})

test('an abort ends a kernel that never returns, and the next call gets another thread', async () => {
  open(1)
  const stop = new AbortController()
  const started = new Int32Array(new SharedArrayBuffer(4))
  const spinning = pool.run(endless(), started, { signal: stop.signal })
  await expect.poll(() => Atomics.load(started, 0), { timeout: 20_000 }).toBe(1)
  stop.abort(new Error('no longer wanted'))
  await expect(spinning).rejects.toThrow('no longer wanted')
  expect(await pool.run(pausing(), 0, { signal: NEVER })).toBeGreaterThan(0)
})

test('a kernel that ends its thread fails its own call and no other', async () => {
  const compute = open(2)
  const [ended, other] = await Promise.allSettled([compute.run(exiting(), 3), compute.run(pausing(), 200)])
  expect(ended).toMatchObject({ status: 'rejected', reason: { name: 'ThreadEndedError', retry: 'never' } })
  expect(String((ended as PromiseRejectedResult).reason)).toMatch(/kernel exit of .* ended its thread with exit code 3/)
  expect(other.status).toBe('fulfilled')
})

test('calls beyond the bounds on count and bytes wait, and leave the queue when aborted', async () => {
  open(1, { calls: 2, bytes: 10_000_000 })
  const order: string[] = []
  const calls = [1, 2, 3].map((n) => pool.run(pausing(), 100, { signal: NEVER }).then(() => order.push(`call ${n}`)))
  const stop = new AbortController()
  const waiting = pool.run(pausing(), 100, { signal: stop.signal })
  stop.abort(new Error('gave up'))
  await expect(waiting).rejects.toThrow('gave up')
  await Promise.all(calls)
  const large = { by: 1, values: new Float32Array(5_000_000) }
  await Promise.all([
    pool.run(pausing(), 100, { signal: NEVER }).then(() => order.push('small')),
    pool.run(scaling(), large, { signal: NEVER }).then(() => order.push('larger than the bound')),
    pool.run(pausing(), 0, { signal: NEVER }).then(() => order.push('behind it')),
  ])
  expect(order).toEqual(['call 1', 'call 2', 'call 3', 'small', 'larger than the bound', 'behind it'])
})

test('closing waits for the calls in progress', async () => {
  const compute = open(1)
  await compute.run(pausing(), 0)
  const running = compute.run(pausing(), 100)
  await new Promise(setImmediate)
  await pool.close()
  expect(await running).toBeGreaterThan(0)
})
