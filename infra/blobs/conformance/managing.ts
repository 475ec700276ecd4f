import assert from 'node:assert/strict'
import { BlobMissingError } from '../blobs.ts'
import type { ConformanceCase } from './harness.ts'
import { listed, NEVER_PUT } from './steps.ts'

export const MANAGING: readonly ConformanceCase[] = [
  {
    name: 'a list names every blob once, by ascending SHA-256, with its size; an empty store lists nothing',
    async run(harness) {
      const blobs = harness.open()
      assert.deepEqual(await listed(blobs), [])
      const texts = Array.from({ length: 40 }, (_, at) => 'x'.repeat(at))
      const refs = await Promise.all(texts.map((text) => blobs.put(Buffer.from(text), 'text/plain')))
      const expected = refs.map(({ sha256, bytes }) => ({ sha256, bytes }))
      expected.sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1))
      const found: unknown[] = []
      for await (const blob of harness.open().list()) found.push(blob)
      assert.deepEqual(found, expected)
    },
  },
  {
    name: 'a list resumes after any SHA-256, of a blob or not',
    async run(harness) {
      const blobs = harness.open()
      for (let at = 0; at < 12; at++) await blobs.put(Buffer.from(`blob ${at}`), 'text/plain')
      const all = await listed(blobs)
      for (const after of [...all, '0'.repeat(64), 'f'.repeat(64), NEVER_PUT.sha256]) {
        assert.deepEqual(
          await listed(blobs, after),
          all.filter((sha256) => sha256 > after),
        )
      }
    },
  },
  {
    name: 'a deleted blob is missing and no longer listed, others stay, and it can be put again',
    async run(harness) {
      const [blobs, other] = [harness.open(), harness.open()]
      const gone = await blobs.put(Buffer.from('gone'), 'text/plain')
      const stays = await blobs.put(Buffer.from('stays'), 'text/plain')
      await blobs.delete(gone)
      await blobs.delete(gone)
      await other.delete(NEVER_PUT)
      for (const handle of [blobs, other]) {
        assert.equal(await handle.has(gone), false)
        await assert.rejects(handle.get(gone), BlobMissingError)
        assert.deepEqual(await listed(handle), [stays.sha256])
      }
      await other.put(Buffer.from('gone'), 'text/plain')
      assert.equal(Buffer.from(await blobs.get(gone)).toString(), 'gone')
    },
  },
]
