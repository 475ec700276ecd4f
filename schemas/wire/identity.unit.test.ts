import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Derivation, derivedId, sourceId } from './identity.ts'

const derivation: Derivation = {
  processor: 'score-completions',
  variant: ['paper', '1'],
  type: 'tower.completions_scored',
  causes: ['b', 'a'],
  index: 0,
}

test('is 128 bits, in hexadecimal, and stays what it was', () => {
  expect(derivedId(derivation)).toMatchInlineSnapshot(`"5220ce542a628aebec93f6faed527f7a"`)
  expect(sourceId(['tower', 'side_block', 'train', '7', '0'])).toMatchInlineSnapshot(
    `"79f8547bad0448894853b314c62184e3"`,
  )
})

test('no part is left out', () => {
  const others: Partial<Derivation>[] = [
    { processor: 'x' },
    { variant: ['paper'] },
    { type: 'x.y' },
    { causes: ['a'] },
    { discriminator: '2026' },
    { index: 1 },
  ]
  const ids = [{}, ...others].map((other) => derivedId({ ...derivation, ...other }))
  expect(new Set(ids).size).toBe(ids.length)
  expect(derivedId({ ...derivation, discriminator: '' })).toBe(derivedId(derivation))
})

test('the order of causes does not matter', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string()), fc.integer(), (causes, seed) => {
      const shuffled = causes.map((cause, at) => [Math.sin(seed + at), cause] as const).sort(([a], [b]) => a - b)
      expect(derivedId({ ...derivation, causes: shuffled.map(([, cause]) => cause) })).toBe(
        derivedId({ ...derivation, causes }),
      )
    }),
  )
})

test('moving text from one part to its neighbour gives another id', () => {
  const part = fc.string({ unit: fc.constantFrom('a', 'b', '', '\u0000'), maxLength: 3 })
  const parts = fc.array(part, { maxLength: 4 })
  fc.assert(
    fc.property(parts, parts, (left, right) => {
      const same = JSON.stringify(left) === JSON.stringify(right)
      expect(sourceId(left) === sourceId(right)).toBe(same)
    }),
    { numRuns: 2000 },
  )
  expect(derivedId({ ...derivation, processor: 'ab', variant: ['c'] })).not.toBe(
    derivedId({ ...derivation, processor: 'a', variant: ['bc'] }),
  )
  expect(derivedId({ ...derivation, variant: ['a'], causes: [] })).not.toBe(
    derivedId({ ...derivation, variant: [], causes: ['a'] }),
  )
})
