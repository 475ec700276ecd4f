import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DIALECTS } from '../../schemas/events/rollout.ts'
import { advantagesOf, type Dialect, statisticsOf } from './advantages.ts'

/** Rewards [20, 0, 0, −5], normalised by the libraries themselves (design §10). */
const GOLDEN: Record<Dialect, number[]> = {
  paper: [1.46571, -0.33824, -0.33824, -0.78923],
  trl: [1.4657, -0.33824, -0.33824, -0.78922],
  trl_async: [1.69246, -0.39057, -0.39057, -0.91132],
  verl: [1.46571, -0.33824, -0.33824, -0.78923],
  openrlhf: [1.46571, -0.33824, -0.33824, -0.78923],
  pipelinerl: [1.95426, -0.45098, -0.45098, -1.05229],
  nemo_rl: [7.50555, -0.37796, -0.37796, -1.01036],
  prime_rl: [16.25, -3.75, -3.75, -8.75],
}

describe.each(DIALECTS)('dialect %s', (dialect) => {
  test('normalises [20, 0, 0, −5] as its library does', () => {
    const actual = advantagesOf([20, 0, 0, -5], dialect)
    actual.forEach((value, index) => {
      expect(value).toBeCloseTo(GOLDEN[dialect][index] as number, 4)
    })
  })

  test('is 0 everywhere for a group without variance, whose equality is decided on the rewards', () => {
    expect(advantagesOf([0.1, 0.1, 0.1], dialect)).toEqual([0, 0, 0])
    expect(statisticsOf([0.1, 0.1, 0.1]).zero_variance).toBe(true)
  })

  test('follows the rewards when they are permuted, and keeps their order', () => {
    const rewards = fc.array(fc.integer({ min: -5, max: 20 }), { minLength: 2, maxLength: 16 })
    fc.assert(
      fc.property(rewards, (values) => {
        const advantages = advantagesOf(values, dialect)
        const reversed = advantagesOf(values.toReversed(), dialect).toReversed()
        advantages.forEach((value, index) => {
          expect(value).toBeCloseTo(reversed[index] as number, 9)
        })
        const ranked = values.map((value, index) => ({ value, advantage: advantages[index] as number }))
        for (const a of ranked) {
          for (const b of ranked) if (a.value > b.value) expect(a.advantage).toBeGreaterThan(b.advantage)
        }
      }),
    )
  })
})

test('a group of one has no variance', () => {
  expect(statisticsOf([3])).toEqual({ mean: 3, std: 0, zero_variance: true })
})
