import { randomBytes } from 'node:crypto'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { compressSync } from 'snappy'
import { expect, test } from 'vitest'
import { BatchTooLargeError, decompress } from './codecs.ts'
import { lz4Compress, lz4Decompress } from './lz4.ts'
import { snappyDecompress } from './snappy.ts'

const ANY = Number.POSITIVE_INFINITY

test('lz4: any bytes survive a round trip', () => {
  const repetitive = fc
    .array(fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 400 })), { maxLength: 30 })
    .map((parts) => Buffer.concat(parts.flatMap(([bytes, times]) => Array(times).fill(Buffer.from(bytes)))))
  fc.assert(
    fc.property(repetitive, (bytes) => {
      expect(lz4Decompress(lz4Compress(bytes), ANY).equals(bytes)).toBe(true)
    }),
  )
})

test('lz4: incompressible bytes are stored; concatenated frames and several blocks are read', () => {
  const noise = randomBytes(200 * 1024)
  const frames = Buffer.concat([lz4Compress(noise), lz4Compress(Buffer.from('tail'))])
  expect(frames.length).toBeLessThan(noise.length + 100)
  expect(lz4Decompress(frames, ANY).equals(Buffer.concat([noise, Buffer.from('tail')]))).toBe(true)
})

test('snappy: the example of its format description', () => {
  // 'abcd' as a literal, then three repetitions as one copy that overlaps itself.
  expect(snappyDecompress(Buffer.from([16, 0x0c, 0x61, 0x62, 0x63, 0x64, 0x2e, 4, 0]), ANY).toString()).toBe(
    'abcd'.repeat(4),
  )
})

test('damaged bytes are an error, not wrong records', () => {
  expect(() => lz4Decompress(Buffer.from('no frame at all'), ANY)).toThrow('LZ4: expected a frame')
  expect(() => lz4Decompress(lz4Compress(Buffer.alloc(1000)).subarray(0, 14), ANY)).toThrow()
  expect(() => snappyDecompress(Buffer.from([16, 0x2e, 4, 0]), ANY)).toThrow('snappy: corrupt input')
  expect(() => decompress(7, Buffer.from(''))).toThrow('found codec 7')
})

test.each([
  ['gzip', 1, (bytes: number) => gzipSync(Buffer.alloc(bytes))],
  ['snappy', 2, (bytes: number) => compressSync(Buffer.alloc(bytes))],
  ['lz4', 3, (bytes: number) => lz4Compress(Buffer.alloc(bytes))],
  ['zstd', 4, (bytes: number) => zstdCompressSync(Buffer.alloc(bytes))],
] as const)('%s: decompression stops at the largest size of a batch', (_name, codec, compressed) => {
  const bytes = compressed(1_000_000)
  expect(decompress(codec, bytes).length).toBeGreaterThanOrEqual(1_000_000)
  expect(() => decompress(codec, bytes, 999_999)).toThrow(BatchTooLargeError)
})
