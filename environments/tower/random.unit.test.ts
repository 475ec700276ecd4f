import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { murmur3, random, xoshiro128 } from './random.ts'

describe('murmur3', () => {
  test.each([
    ['', 0, 0],
    ['', 1, 0x514e28b7],
    ['test', 0, 0xba6bd213],
    ['Hello, world!', 0, 0xc0363e43],
    ['The quick brown fox jumps over the lazy dog', 0, 0x2e4ff723],
  ])('hashes %j with seed %i to the published value', (text, seed, expected) => {
    expect(murmur3(text, seed)).toBe(expected)
  })
})

describe('xoshiro128**', () => {
  test('gives the reference implementation’s numbers for the state 1, 2, 3, 4', () => {
    const stream = xoshiro128(1, 2, 3, 4)
    expect(Array.from({ length: 10 }, () => stream.uint32())).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ])
  })
})

describe('random', () => {
  test('gives the same numbers for the same key: a golden', () => {
    const stream = random('scene', 'a', 7)
    expect([stream.uint32(), stream.uniform(), stream.integer(-600, 600), stream.normal()]).toEqual([
      2407663727, 0.7190856014566073, -384, -0.17369725871512226,
    ])
  })

  test('keeps keys apart whose parts only read the same when joined', () => {
    expect(random('ab', 'c').uint32()).not.toBe(random('a', 'bc').uint32())
    expect(random('a', 1).uint32()).not.toBe(random('a', 11).uint32())
  })

  test('draws integers within both ends, and every one of them', () => {
    const stream = random('ends')
    const counts = new Map<number, number>()
    for (let draw = 0; draw < 7000; draw++) {
      const value = stream.integer(-3, 3)
      counts.set(value, (counts.get(value) ?? 0) + 1)
    }
    expect([...counts.keys()].sort((a, b) => a - b)).toEqual([-3, -2, -1, 0, 1, 2, 3])
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })

  test('draws normal deviates with mean 0 and variance 1', () => {
    const stream = random('normal')
    const draws = Array.from({ length: 20_000 }, () => stream.normal())
    const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length
    const variance = draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length
    expect(Math.abs(mean)).toBeLessThan(0.03)
    expect(Math.abs(variance - 1)).toBeLessThan(0.05)
  })

  test('shuffles into a permutation and leaves its argument alone', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.string(), (items, key) => {
        const before = [...items]
        const shuffled = random(key).shuffled(items)
        expect(items).toEqual(before)
        expect([...shuffled].sort()).toEqual([...items].sort())
      }),
    )
  })

  test('refuses an empty range', () => {
    expect(() => random('x').integer(3, 2)).toThrow('expected integers low <= high')
  })
})
