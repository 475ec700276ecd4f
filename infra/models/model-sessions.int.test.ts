import { afterEach, expect, test } from 'vitest'
import { KernelDiedError, ModelAwayError, type ModelTensor } from '../../processors/processor.ts'
import { linearOnnx, tinyOnnx } from '../../testing/tiny-onnx.ts'
import { memoryBlobs } from '../blobs/memory.ts'
import { NEVER_ABORTED } from '../runtime/execute/reach.ts'
import { type ModelOptions, ModelSessions } from './model-sessions.ts'

const opened: ModelSessions[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((sessions) => sessions.close()))
})

async function having(options: ModelOptions, ...models: readonly Uint8Array[]) {
  const blobs = memoryBlobs()
  const sessions = new ModelSessions(options)
  opened.push(sessions)
  const refs = await Promise.all(models.map((model) => blobs.put(model, 'application/onnx')))
  const run = async (at: number, x: ModelTensor, signal: AbortSignal = NEVER_ABORTED) => {
    const model = refs[at]
    if (model === undefined) throw new Error(`there is no model ${at}`)
    return await sessions.run(model, { x }, { blobs, signal })
  }
  return { run, blobs, sessions }
}

const pairs = (...numbers: readonly number[]): ModelTensor => ({
  dtype: 'float32',
  shape: [numbers.length / 2, 2],
  data: Float32Array.from(numbers),
})

/** One operator on one input of this type. */
const casting = (type: 'float16' | 'int64' | 'bool' | 'float64' | 'int32' | 'uint8') =>
  tinyOnnx({
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    inputs: [{ name: 'x', type, shape: ['n'] }],
    outputs: [{ name: 'y', type, shape: ['n'] }],
  })

test('a model gives its outputs, by name, with their shapes', async () => {
  const { run } = await having({}, linearOnnx(2, 1))
  expect(await run(0, pairs(1, 2, 3, 4))).toEqual({ y: pairs(3, 5, 7, 9) })
  expect(await run(0, pairs())).toEqual({ y: pairs() })
})

test.each<ModelTensor>([
  { dtype: 'float16', shape: [2], data: Float16Array.of(0.5, -2) },
  { dtype: 'float64', shape: [2], data: Float64Array.of(0.1, -2) },
  { dtype: 'int32', shape: [1], data: Int32Array.of(-7) },
  { dtype: 'int64', shape: [1], data: BigInt64Array.of(2n ** 53n + 1n) },
  { dtype: 'uint8', shape: [2], data: Uint8Array.of(0, 255) },
  { dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) },
])('$dtype goes through a model unchanged', async (x) => {
  if (x.dtype === 'float32') throw new Error('is tested above')
  const { run } = await having({}, casting(x.dtype))
  expect(await run(0, x)).toEqual({ y: x })
})

test('more models than stay loaded take turns', async () => {
  const { run } = await having({ loaded: 2 }, linearOnnx(1, 1), linearOnnx(1, 2), linearOnnx(1, 3))
  const turns = await Promise.all([0, 1, 2, 0, 1, 2, 2, 0].map((at) => run(at, pairs(0, 0))))
  expect(turns.map(({ y }) => y?.data[0])).toEqual([1, 2, 3, 1, 2, 3, 3, 1])
})

test('weights that the store lacks, or has damaged, are waited for', async () => {
  const { sessions } = await having({})
  const ref = { sha256: 'a'.repeat(64), bytes: 1, media_type: 'application/onnx' }
  const run = sessions.run(ref, {}, { blobs: memoryBlobs(), signal: NEVER_ABORTED })
  await expect(run).rejects.toThrow(ModelAwayError)
  await expect(run).rejects.toMatchObject({ retry: 'later' })
})

test.each<[string, Uint8Array, ModelTensor, RegExp]>([
  ['is no model', Buffer.from('%PDF-1.7'), pairs(1, 2), /^model [0-9a-f]{64}: .*protobuf/i],
  ['has another shape', linearOnnx(1, 1), { ...pairs(1, 2, 3, 4), shape: [4] }, /^model [0-9a-f]{64}: .*rank/i],
  ['has another type', casting('float64'), pairs(1, 2), /^model [0-9a-f]{64}: .*(data ?type|double)/i],
])('a model that %s is an error that names it; the next one runs', async (_, model, x, message) => {
  const { run } = await having({}, model, linearOnnx(1, 1))
  await expect(run(0, x)).rejects.toThrow(message)
  expect(await run(1, pairs(0, 0))).toEqual({ y: pairs(1, 1) })
})

test('a small file that asks for 100 GB ends its process, not this one, and the next model runs', async () => {
  const size = BigInt64Array.of(25n * 2n ** 30n)
  const greedy = tinyOnnx({
    nodes: [
      { op: 'ConstantOfShape', inputs: ['size'], outputs: ['zeros'] },
      { op: 'ReduceSum', inputs: ['zeros'], outputs: ['sum'], attributes: { keepdims: 0 } },
      { op: 'Add', inputs: ['x', 'sum'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 2] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['n', 2] }],
    constants: [{ name: 'size', shape: [1], data: size }],
  })
  expect(greedy.byteLength).toBeLessThan(1_024)
  const { run } = await having({ memory: 2 ** 30 }, greedy, linearOnnx(1, 1))
  const failed = await run(0, pairs(0, 0)).catch((error: unknown) => error)
  expect(failed).toBeInstanceOf(Error)
  if (failed instanceof KernelDiedError) expect(failed.message).toMatch(/^model .* has ended its process 3 times/)
  else expect(String(failed)).toMatch(/model [0-9a-f]{64}: .*(alloc|memory)/i)
  expect(await run(1, pairs(0, 0))).toEqual({ y: pairs(1, 1) })
})

test('an aborted call ends, and the next one runs in a new process', async () => {
  const { run } = await having({}, linearOnnx(1, 1))
  await run(0, pairs(0, 0))
  const stop = new AbortController()
  const running = run(0, pairs(0, 0), stop.signal)
  stop.abort(new Error('no longer wanted'))
  await expect(running).rejects.toThrow('no longer wanted')
  expect(await run(0, pairs(0, 0))).toEqual({ y: pairs(1, 1) })
})
