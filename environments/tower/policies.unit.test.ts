import { describe, expect, test } from 'vitest'
import { parseAnswer } from './answer.ts'
import { type Policy, parsePolicy } from './policies.ts'
import { random } from './random.ts'
import { sampleScene } from './scene.ts'
import { LEGAL_PAIRS } from './task.ts'

const policyOf = (name: string) => parsePolicy(name) as Policy

const NAMES = [
  'oracle',
  'random-legal',
  'noisy-oracle(150)',
  'noisy-oracle(0)',
  'constant(<answer>0</answer>)',
  'constant()',
]

describe('parsePolicy', () => {
  test.each(NAMES)('%s keeps its name', (name) => {
    expect(policyOf(name).name).toBe(name)
  })

  test.each(['orcale', '', 'noisy-oracle'])('%j is no policy', (name) => {
    expect(parsePolicy(name)).toBeUndefined()
  })

  test.each([
    ['noisy-oracle()', 'expected a standard deviation of at least 0 answer units'],
    ['noisy-oracle(-1)', 'got (-1)'],
    ['noisy-oracle(wide)', 'got (wide)'],
  ])('%j is refused: %s', (name, message) => {
    expect(() => parsePolicy(name)).toThrow(message)
  })
})

describe('scripted policies', () => {
  test.each(NAMES.slice(0, 4))('%s answers every task legally, and the same again', (name) => {
    for (const { dataset, task } of LEGAL_PAIRS) {
      for (let index = 0; index < 40; index++) {
        const scene = sampleScene({ dataset, split: 'train', seed: 'policy', index })
        const text = policyOf(name).complete(scene, task, random('completion', index))
        const inRange = name !== 'noisy-oracle(150)'
        expect(parseAnswer(text, task, { reject_out_of_range: inRange }).ok).toBe(true)
        expect(policyOf(name).complete(scene, task, random('completion', index))).toBe(text)
      }
    }
  })

  test('noise of 0 is the oracle', () => {
    for (const { dataset, task } of LEGAL_PAIRS) {
      const scene = sampleScene({ dataset, split: 'train', seed: 'policy', index: 3 })
      const stream = random('completion')
      expect(policyOf('noisy-oracle(0)').complete(scene, task, stream)).toBe(
        policyOf('oracle').complete(scene, task, stream),
      )
    }
  })
})
