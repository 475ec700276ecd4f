import fc from 'fast-check'
import { expect, test } from 'vitest'
import { printable, printableLine, shortened, widthOf } from './terminal-text.ts'
import { textTable } from './text-table.ts'

test('controls, separators and bidirectional marks are written out', () => {
  expect(printable('a\x1b[31mred\x07\x9b2J\x7f\r\tb\nc')).toBe('a\\e[31mred\\x07\\x9b2J\\x7f\\r\\tb\nc')
  expect(printable('\u202eabc\u2066\u2028')).toBe('\\u202eabc\\u2066\\u2028')
  expect(printableLine('a\r\nb\nc')).toBe('a⏎b⏎c')
})

test('no text keeps anything that a terminal obeys', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 2, max: 30 }), (text, most) => {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
      const obeyed = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/
      expect(printableLine(text)).not.toMatch(obeyed)
      expect(shortened(text, most)).not.toMatch(obeyed)
      expect(widthOf(shortened(text, most))).toBeLessThanOrEqual(most)
    }),
  )
})

test('widths count as terminals do: wide characters two, combining ones none, an emoji sequence two', () => {
  expect(['塔', 'e\u0301', '👩‍👩‍👧', '🧱', 'a'].map(widthOf)).toEqual([2, 1, 2, 2, 1])
  expect(shortened('塔塔塔塔', 5)).toBe('塔塔…')
  expect(shortened('abc', 3)).toBe('abc')
  expect(shortened('x'.repeat(1e6), 4)).toBe('xxx…')
})

test('a cell cannot leave its column', () => {
  const table = textTable([{ name: 'text' }, { name: 'n' }], [['\x1b[2J\rgone', '1']])
  expect(table).toBe('text         n\n───────────  ─\n\\e[2J\\rgone  1\n')
})
