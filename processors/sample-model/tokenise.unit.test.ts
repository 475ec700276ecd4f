import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Tokeniser } from './tokenise.ts'

test('at each place the longest token is taken, the first of equals', () => {
  const vocabulary = ['', 'a', 'ab', 'abc', 'c', 'ab', 'd']
  expect(new Tokeniser(vocabulary).tokens('abcabdac')).toEqual([3, 2, 6, 1, 4])
})

test('a text that no token begins is refused with its place', () => {
  expect(() => new Tokeniser(['a']).tokens('aab')).toThrow(
    /no token of the model's vocabulary fits at character 2, "b"/,
  )
})

test('tokens of a vocabulary that has every character give the text back', () => {
  const characters = ['x', 'y', 'ä', '\u{1f600}']
  const text = fc.array(fc.constantFrom(...characters), { maxLength: 20 }).map((parts) => parts.join(''))
  const more = fc.array(fc.array(fc.constantFrom(...characters), { minLength: 2, maxLength: 4 }), { maxLength: 5 })
  fc.assert(
    fc.property(text, more, (text, longer) => {
      const vocabulary = [...characters, ...longer.map((parts) => parts.join(''))]
      const tokens = new Tokeniser(vocabulary).tokens(text)
      expect(tokens.map((token) => vocabulary[token]).join('')).toBe(text)
    }),
  )
})
