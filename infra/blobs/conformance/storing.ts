import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { BlobCorruptError, BlobMissingError } from '../blobs.ts'
import { collect, refOf } from '../hashing.ts'
import type { ConformanceCase } from './harness.ts'
import { bytesOf, expectAway, LARGE, listed, NEVER_PUT } from './steps.ts'

export const STORING: readonly ConformanceCase[] = [
  {
    name: 'a blob is read back as it was put, under the hash of its bytes: empty, one byte, a megabyte',
    async run(harness) {
      const [one, other] = [harness.open(), harness.open()]
      for (const bytes of [Buffer.alloc(0), Buffer.from('a'), LARGE]) {
        const ref = await one.put(bytes, 'image/png')
        const sha256 = createHash('sha256').update(bytes).digest('hex')
        assert.deepEqual(ref, { sha256, bytes: bytes.byteLength, media_type: 'image/png' })
        for (const blobs of [one, other]) {
          assert(bytes.equals(await blobs.get(ref)))
          assert.equal(await blobs.has(ref), true)
        }
      }
    },
  },
  {
    name: 'bytes put with their hash are the same blob as without it',
    async run(harness) {
      const blobs = harness.open()
      for (const bytes of [Buffer.from('hashed by the caller'), LARGE]) {
        const { sha256, ...ref } = refOf(bytes, 'image/png')
        assert.deepEqual(await blobs.put(bytes, 'image/png', { sha256 }), { sha256, ...ref })
        assert(bytes.equals(await harness.open().get({ sha256, ...ref })))
        assert.deepEqual(await blobs.put(bytes, 'image/png'), { sha256, ...ref })
      }
    },
  },
  {
    name: 'a reader may change the bytes that it got: another one gets what was put',
    async run(harness) {
      const blobs = harness.open()
      for (const bytes of [bytesOf('to be changed by a reader', 1_000), LARGE]) {
        const ref = await blobs.put(bytes, 'image/png')
        const expected = Buffer.from(bytes)
        for (let reader = 0; reader < 3; reader++) {
          const got = await blobs.get(ref)
          assert(expected.equals(got))
          got.fill(reader)
        }
      }
    },
  },
  {
    name: 'the same bytes, put concurrently through several handles, are one blob',
    async run(harness) {
      const handles = [harness.open(), harness.open(), harness.open()]
      const puts = Array.from({ length: 5 }, () => handles.map((blobs) => blobs.put(LARGE, 'image/png')))
      const [ref, ...others] = await Promise.all(puts.flat())
      assert(ref !== undefined)
      for (const one of others) assert.deepEqual(one, ref)
      assert.deepEqual(await listed(harness.open()), [ref.sha256])
      assert(LARGE.equals(await harness.open().get(ref)))
    },
  },
  {
    name: 'a store that answers reports a blob that was never put as missing',
    async run(harness) {
      const blobs = harness.open()
      assert.equal(await blobs.has(NEVER_PUT), false)
      await blobs.put(Buffer.from('another'), 'text/plain')
      assert.equal(await blobs.has(NEVER_PUT), false)
      await assert.rejects(blobs.get(NEVER_PUT), BlobMissingError)
      await assert.rejects(collect(blobs.getStream(NEVER_PUT)), BlobMissingError)
      await assert.rejects(collect(blobs.getStream(NEVER_PUT, { range: { from: 1, to: 3 } })), BlobMissingError)
    },
  },
  {
    name: 'damaged bytes are never returned: changed, cut short, empty, longer',
    async run(harness) {
      const blobs = harness.open()
      const bytes = bytesOf('to be damaged', 10_000)
      const ref = await blobs.put(bytes, 'image/png')
      for (const damage of damages(bytes)) {
        await harness.damage(ref, damage)
        await assert.rejects(blobs.get(ref), BlobCorruptError)
        await assert.rejects(collect(blobs.getStream(ref)), BlobCorruptError)
      }
      await harness.damage(ref, bytes.subarray(0, 5_000))
      for (const from of [4_000, 6_000]) {
        await assert.rejects(collect(blobs.getStream(ref, { range: { from, to: 10_000 } })), BlobCorruptError)
      }
    },
  },
  {
    name: 'a put over a damaged blob repairs it, also as a stream',
    async run(harness) {
      const blobs = harness.open()
      const bytes = bytesOf('to be repaired', 10_000)
      const ref = await blobs.put(bytes, 'image/png')
      for (const damage of damages(bytes)) {
        await harness.damage(ref, damage)
        await blobs.put(bytes, 'image/png')
        assert(bytes.equals(await blobs.get(ref)))
        await harness.damage(ref, damage)
        await blobs.putStream(ref, async function* () {
          yield bytes
        })
        assert(bytes.equals(await blobs.get(ref)))
      }
    },
  },
  {
    name: 'a store that cannot be reached reports no blob as missing',
    async run(harness) {
      await harness.open().put(Buffer.from('something'), 'text/plain')
      await expectAway(await harness.away())
    },
  },
]

function damages(bytes: Buffer): readonly Buffer[] {
  const changed = Buffer.from(bytes)
  changed.writeUInt8(changed.readUInt8(5_000) ^ 1, 5_000)
  return [changed, bytes.subarray(0, 5_000), Buffer.alloc(0), Buffer.concat([bytes, Buffer.from('more')])]
}
