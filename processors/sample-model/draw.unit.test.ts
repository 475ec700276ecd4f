import { expect, test } from 'vitest'
import { random } from '../../environments/tower/random.ts'
import { draw, type Sampling } from './draw.ts'

const ALL: Sampling = { temperature: 1, top_k: 0, top_p: 1 }
const LOGITS = Float32Array.of(0, Math.log(2), Math.log(4), Math.log(1), -Infinity)
const every = () => true

function shares(sampling: Sampling, isAllowed: (token: number) => boolean = every): number[] {
  const stream = random('draw', JSON.stringify(sampling))
  const counts = [0, 0, 0, 0, 0]
  const times = 20_000
  for (let i = 0; i < times; i++) {
    const { token } = draw(LOGITS, isAllowed, sampling, stream)
    counts[token] = (counts[token] as number) + 1
  }
  return counts.map((count) => count / times)
}

test.each<[string, Sampling, (token: number) => boolean, readonly number[]]>([
  ['as the model says', ALL, every, [1 / 8, 2 / 8, 4 / 8, 1 / 8, 0]],
  ['sharper at a temperature of 1/2', { ...ALL, temperature: 0.5 }, every, [1 / 22, 4 / 22, 16 / 22, 1 / 22, 0]],
  ['of the two likeliest', { ...ALL, top_k: 2 }, every, [0, 1 / 3, 2 / 3, 0, 0]],
  ['of the smallest set of 0.7', { ...ALL, top_p: 0.7 }, every, [0, 1 / 3, 2 / 3, 0, 0]],
  ['of those allowed', ALL, (token) => token !== 2, [1 / 4, 2 / 4, 0, 1 / 4, 0]],
])('tokens are drawn %s', (_, sampling, isAllowed, expected) => {
  for (const [token, share] of shares(sampling, isAllowed).entries()) {
    expect(share, `token ${token}`).toBeCloseTo(expected[token] as number, 1.7)
    expect(share === 0).toBe(expected[token] === 0)
  }
})

test('at a temperature of 0 the likeliest is drawn, the first of equals, without a random number', () => {
  const stream = random('greedy')
  const sampling = { ...ALL, temperature: 0 }
  expect(draw(LOGITS, every, sampling, stream).token).toBe(2)
  expect(draw(LOGITS, (token) => token !== 1 && token !== 2, sampling, stream).token).toBe(0)
  expect(stream.uniform()).toBe(random('greedy').uniform())
})

test('a log-probability is raw: of all tokens, whatever may be drawn', () => {
  const { token, logprob } = draw(
    LOGITS,
    (token) => token === 1,
    { temperature: 0.1, top_k: 1, top_p: 0.1 },
    random(''),
  )
  expect([token, logprob]).toEqual([1, expect.closeTo(Math.log(1 / 4), 6)])
})

test.each([Number.NaN, Number.POSITIVE_INFINITY])('a logit of %s is refused', (logit) => {
  expect(() => draw(Float32Array.of(0, logit), every, ALL, random(''))).toThrow(`logit of token 1: expected a number`)
})
