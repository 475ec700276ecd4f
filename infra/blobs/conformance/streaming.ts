import assert from 'node:assert/strict'
import { BlobCorruptError } from '../blobs.ts'
import { collect, refOf } from '../hashing.ts'
import type { ConformanceCase } from './harness.ts'
import { bytesOf, everyCall, inPieces, LARGE, listed } from './steps.ts'

export const STREAMING: readonly ConformanceCase[] = [
  {
    name: 'a stream in uneven pieces is the same blob as its bytes at once, and is read back as a stream',
    async run(harness) {
      const blobs = harness.open()
      for (const bytes of [Buffer.alloc(0), Buffer.from('a'), LARGE]) {
        const ref = refOf(bytes, 'video/mp4')
        await blobs.putStream(ref, () => inPieces(bytes))
        assert(bytes.equals(await blobs.get(ref)))
        assert(bytes.equals(await collect(blobs.getStream(ref))))
        assert.deepEqual(await blobs.put(bytes, 'video/mp4'), ref)
        await blobs.putStream(ref, () => inPieces(bytes))
      }
      assert.equal((await listed(blobs)).length, 3)
    },
  },
  {
    name: 'a stream that does not hash to its name, or that fails, stores nothing',
    async run(harness) {
      const blobs = harness.open()
      const ref = refOf(LARGE, 'video/mp4')
      const changed = Buffer.from(LARGE)
      changed.writeUInt8(changed.readUInt8(0) ^ 1, 0)
      for (const wrong of [changed, LARGE.subarray(1), Buffer.concat([LARGE, LARGE]), Buffer.alloc(0)]) {
        await assert.rejects(
          blobs.putStream(ref, () => inPieces(wrong)),
          BlobCorruptError,
        )
      }
      const broken = new Error('the source broke off')
      const failing = async function* () {
        yield LARGE.subarray(0, 500_000)
        throw broken
      }
      await assert.rejects(blobs.putStream(ref, failing), (error) => error === broken)
      assert.equal(await blobs.has(ref), false)
      assert.deepEqual(await listed(blobs), [])
    },
  },
  {
    name: 'a range is exactly those bytes; one outside the blob is refused',
    async run(harness) {
      const blobs = harness.open()
      const ref = await blobs.put(LARGE, 'video/mp4')
      const end = LARGE.byteLength
      for (const [from, to] of [
        [0, 1],
        [0, end],
        [1, 2],
        [100, 300_000],
        [end - 1, end],
        [end, end],
        [7, 7],
      ] as const) {
        const part = await collect(blobs.getStream(ref, { range: { from, to } }))
        assert(LARGE.subarray(from, to).equals(part), `from ${from} to ${to}: got ${part.byteLength} bytes`)
      }
      for (const [from, to] of [
        [0, end + 1],
        [-1, 5],
        [5, 4],
        [0.5, 1],
      ] as const) {
        await assert.rejects(collect(blobs.getStream(ref, { range: { from, to } })), RangeError)
      }
    },
  },
  {
    name: 'a reader that stops early leaves a store that works',
    async run(harness) {
      const blobs = harness.open()
      const ref = await blobs.put(LARGE, 'video/mp4')
      for (let turn = 0; turn < 20; turn++) for await (const _ of blobs.getStream(ref)) break
      assert(LARGE.equals(await blobs.get(ref)))
    },
  },
  {
    name: 'a call whose signal is aborted rejects with its reason, and stores nothing',
    async run(harness) {
      const blobs = harness.open()
      await blobs.put(Buffer.from('something'), 'text/plain')
      const reason = new Error('the caller gave up')
      const before = await listed(blobs)
      for (const [name, call] of everyCall(blobs, { signal: AbortSignal.abort(reason) })) {
        await assert.rejects(call(), (error) => error === reason, name)
      }
      assert.deepEqual(await listed(blobs), before)
    },
  },
  {
    name: 'a transfer that is aborted in the middle ends with the reason, and nothing of it is visible',
    async run(harness) {
      const blobs = harness.open()
      const reason = new Error('the caller gave up')
      const stop = new AbortController()
      const bytes = bytesOf('aborted', 400_000)
      const ref = refOf(bytes, 'video/mp4')
      const source = async function* () {
        yield bytes.subarray(0, 200_000)
        stop.abort(reason)
        yield bytes.subarray(200_000)
      }
      await assert.rejects(blobs.putStream(ref, source, { signal: stop.signal }), (error) => error === reason)
      assert.equal(await blobs.has(ref), false)

      const large = await blobs.put(LARGE, 'video/mp4')
      const reading = new AbortController()
      const read = async () => {
        for await (const _ of blobs.getStream(large, { signal: reading.signal })) reading.abort(reason)
      }
      await assert.rejects(read(), (error) => error === reason)
    },
  },
]
