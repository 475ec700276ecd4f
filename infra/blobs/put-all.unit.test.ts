import { expect, test } from 'vitest'
import { BlobCorruptError, type Blobs, type PutCall } from './blobs.ts'
import { refOf } from './hashing.ts'
import { memoryBlobs } from './memory.ts'
import { PARALLEL_PUTS, putAll } from './put-all.ts'

const blobOf = (text: string) => {
  const bytes = Buffer.from(text)
  return { bytes, ref: refOf(bytes, 'text/plain') }
}
const many = Array.from({ length: 100 }, (_, at) => blobOf(`blob ${at}`))

/** A store whose puts end when the test lets them. */
function gated() {
  const started: { readonly text: string; readonly call: PutCall; end(error?: Error): void }[] = []
  const blobs: Blobs = {
    put: (bytes, media_type, call = {}) =>
      new Promise((resolve, reject) => {
        const end = (error?: Error) => (error === undefined ? resolve(refOf(bytes, media_type)) : reject(error))
        started.push({ text: Buffer.from(bytes).toString(), call, end })
      }),
    get: () => Promise.reject(new Error('not used')),
    has: () => Promise.reject(new Error('not used')),
  }
  return { blobs, started }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('all blobs are put, each once, at most the given number at a time', async () => {
  const { blobs, started } = gated()
  let is_done = false
  const all = putAll(blobs, [...many, ...many]).then(() => {
    is_done = true
  })
  for (let ended = 0; ended < many.length; ended++) {
    await turn()
    expect(started.length - ended).toBe(Math.min(PARALLEL_PUTS, many.length - ended))
    expect(is_done).toBe(false)
    started[ended]?.end()
  }
  await all
  expect(started.map(({ text }) => text)).toEqual(many.map(({ bytes }) => bytes.toString()))
})

test('after a failure nothing more is started, the rest is aborted, and the first error is thrown at the end', async () => {
  const { blobs, started } = gated()
  let thrown: unknown
  const all = putAll(blobs, many).catch((error: unknown) => {
    thrown = error
  })
  await turn()
  const first = new Error('the store is away')
  started[3]?.end(first)
  await turn()
  expect(started).toHaveLength(PARALLEL_PUTS)
  expect(thrown).toBeUndefined()
  for (const { call, end } of started) {
    expect(call.signal?.aborted).toBe(true)
    end(new Error('aborted'))
  }
  await all
  expect(thrown).toBe(first)
})

test('only bytes that other code never had are put with their hash; others are hashed again', async () => {
  const { blobs, started } = gated()
  const all = putAll(blobs, [{ ...blobOf('of an encoder'), sealed: true }, blobOf('of a transform')])
  await turn()
  for (const { end } of started) end()
  await all
  expect(started.map(({ call }) => call.sha256)).toEqual([blobOf('of an encoder').ref.sha256, undefined])
  const changed = blobOf('before')
  changed.bytes.write('behind')
  await expect(putAll(memoryBlobs(), [changed])).rejects.toThrow(BlobCorruptError)
})

test('no blobs need no store', async () => {
  await putAll(gated().blobs, [])
})
