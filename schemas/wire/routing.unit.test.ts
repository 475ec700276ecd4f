import { expect, test } from 'vitest'
import { murmur2, partitionOf } from './routing.ts'

// The vectors of Apache Kafka's own UtilsTest.testMurmur2.
test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('murmur2 of %s is what Kafka computes', (text, hash) => {
  expect(murmur2(Buffer.from(text))).toBe(hash)
})

test('a partition is the hash less its sign, modulo the count', () => {
  expect(partitionOf('foobar', 8)).toBe((-790332482 & 0x7fffffff) % 8)
  expect(partitionOf('Ω', 5)).toBe((murmur2(Buffer.from([0xce, 0xa9])) & 0x7fffffff) % 5)
  expect(partitionOf('', 3)).toBeLessThan(3)
})

test('keys spread evenly', () => {
  const partitions = Array.from({ length: 4000 }, (_, i) => partitionOf(`group-${i}`, 4))
  for (const p of [0, 1, 2, 3]) expect(partitions.filter((each) => each === p).length).toBeGreaterThan(850)
})

test('a count that is not a positive integer is refused', () => {
  expect(() => partitionOf('a', 0)).toThrow('partitions: expected a positive integer, got 0')
})
