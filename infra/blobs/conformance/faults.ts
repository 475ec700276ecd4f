import assert from 'node:assert/strict'
import { retryOf } from '../../retry.ts'
import { BlobCorruptError } from '../blobs.ts'
import { collect, refOf } from '../hashing.ts'
import type { ConformanceCase } from './harness.ts'
import { bytesOf, everyCall, expectAway, inPieces, LARGE } from './steps.ts'

/** For drivers whose store is behind a network. */
export const FAULTS: readonly ConformanceCase[] = [
  {
    name: 'a store that takes connections and never answers is given up on, and reports no blob as missing',
    async run(harness) {
      await expectAway(await harness.through('never answers'))
    },
  },
  {
    name: 'a store that answers 503 reports no blob as missing',
    async run(harness) {
      await expectAway(await harness.through('answers 503'))
    },
  },
  {
    name: 'another server that answers 404 in its place reports no blob as missing',
    async run(harness) {
      await expectAway(await harness.through('another server answers 404'))
    },
  },
  {
    name: 'a transfer that breaks off once is finished, in both directions',
    async run(harness) {
      const blobs = await harness.through('breaks off once')
      const ref = await blobs.put(LARGE, 'image/png')
      assert(LARGE.equals(await blobs.get(ref)))
      const streamed = await harness.through('breaks off once')
      const other = bytesOf('streamed', 600_000)
      await streamed.putStream(refOf(other, 'image/png'), () => inPieces(other))
      assert(other.equals(await collect(streamed.getStream(refOf(other, 'image/png')))))
    },
  },
  {
    name: 'a transfer that always breaks off fails for now, and nothing of it is visible',
    async run(harness) {
      const broken = await harness.through('always breaks off')
      const ref = refOf(LARGE, 'image/png')
      await assert.rejects(broken.put(LARGE, 'image/png'), (error) => retryOf(error) === 'later')
      await assert.rejects(
        broken.putStream(ref, () => inPieces(LARGE)),
        (error) => retryOf(error) === 'later',
      )
      assert.equal(await harness.open().has(ref), false)
      await harness.open().put(LARGE, 'image/png')
      await assert.rejects(broken.get(ref), (error) => retryOf(error) === 'later')
      await assert.rejects(collect(broken.getStream(ref)), (error) => retryOf(error) === 'later')
    },
  },
  {
    name: 'bytes that are changed on the way are never returned, and are no damaged blob',
    async run(harness) {
      const ref = await harness.open().put(LARGE, 'image/png')
      const blobs = await harness.through('changes bytes')
      const isAway = (error: unknown) => retryOf(error) === 'later' && !(error instanceof BlobCorruptError)
      await assert.rejects(blobs.get(ref), isAway)
      await assert.rejects(collect(blobs.getStream(ref)), isAway)
    },
  },
  {
    name: 'a call that waits for a silent store ends when its signal is aborted',
    async run(harness) {
      const blobs = await harness.through('never answers')
      const reason = new Error('the caller gave up')
      for (const [name, call] of everyCall(blobs, { signal: stopSoon(reason) })) {
        await assert.rejects(call(), (error) => error === reason, name)
      }
    },
  },
]

function stopSoon(reason: Error): AbortSignal {
  const stop = new AbortController()
  setImmediate(() => stop.abort(reason))
  return stop.signal
}
