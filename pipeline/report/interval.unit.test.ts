import { expect, test } from 'vitest'
import { random } from '../../environments/tower/random.ts'
import { clusteredMean, studentQuantile } from './interval.ts'

test('t quantiles are those of the tables', () => {
  for (const [freedom, expected] of [
    [1, 12.7062],
    [2, 4.30265],
    [5, 2.57058],
    [30, 2.04227],
    [1000, 1.96234],
    [100_000, 1.95999],
  ] as const) {
    expect(studentQuantile(0.975, freedom)).toBeCloseTo(expected, 4)
  }
})

test('groups of one give the ordinary t interval', () => {
  const clusters = [1, 2, 3, 4, 6].map((total) => ({ total, count: 1 }))
  const { mean, low, high } = clusteredMean(clusters, 't', []) ?? {}
  // scipy.stats.t.interval(0.95, 4, loc=3.2, scale=scipy.stats.sem([1, 2, 3, 4, 6]))
  expect(mean).toBeCloseTo(3.2, 12)
  expect(low).toBeCloseTo(0.8116, 3)
  expect(high).toBeCloseTo(5.5884, 3)
})

test('copies within a group add no information: the interval stays as wide', () => {
  const singles = [1, 2, 3, 4, 6].map((total) => ({ total, count: 1 }))
  const sixteens = singles.map(({ total }) => ({ total: total * 16, count: 16 }))
  expect(clusteredMean(sixteens, 't', [])?.low).toBeCloseTo(clusteredMean(singles, 't', [])?.low ?? 0, 12)
})

test('either interval holds the true mean about 95 times in 100', () => {
  for (const method of ['t', 'bootstrap'] as const) {
    let held = 0
    for (let study = 0; study < 100; study++) {
      const draws = random('study', study)
      const clusters = Array.from({ length: 60 }, () => {
        const scene = draws.normal()
        const rewards = Array.from({ length: 4 }, () => scene + draws.normal())
        return { total: rewards.reduce((a, b) => a + b), count: 4 }
      })
      const { low, high } = clusteredMean(clusters, method, [String(study)]) ?? {}
      if ((low ?? 1) <= 0 && (high ?? -1) >= 0) held++
    }
    expect(held).toBeGreaterThanOrEqual(89)
    expect(held).toBeLessThan(100)
  }
})

test('one group gives no interval, none gives nothing, and a seed gives the same bootstrap again', () => {
  expect(clusteredMean([{ total: 3, count: 2 }], 't', [])).toEqual({ mean: 1.5, low: null, high: null })
  expect(clusteredMean([{ total: 0, count: 0 }], 't', [])).toBeUndefined()
  const clusters = [1, 2, 3, 4, 6].map((total) => ({ total, count: 1 }))
  expect(clusteredMean(clusters, 'bootstrap', ['a'])).toEqual(clusteredMean(clusters, 'bootstrap', ['a']))
  expect(clusteredMean(clusters, 'bootstrap', ['a'])).not.toEqual(clusteredMean(clusters, 'bootstrap', ['b']))
})
