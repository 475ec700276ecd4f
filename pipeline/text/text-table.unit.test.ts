import { expect, test } from 'vitest'
import { textColumns, textTable } from './text-table.ts'

test('a table has a ruled head, numbers to the right, characters counted as they are seen, no spaces at a line’s end', () => {
  const columns = [{ name: 'tower' }, { name: 'n', right: true }, { name: 'said' }]
  const rows = [
    ['🧱🧱 塔', '7', ''],
    ['side_block', '1,234', 'ok'],
  ]
  expect(textTable(columns, rows)).toBe(
    ['tower           n  said', '──────────  ─────  ────', '🧱🧱 塔         7', 'side_block  1,234  ok', ''].join('\n'),
  )
  expect(textTable(columns, [])).toBe('tower  n  said\n─────  ─  ────\n')
})

test('columns without a head: what is too wide pushes its own line alone', () => {
  const rows = [
    ['a', '1', 'x'],
    ['far too wide', '22', 'y'],
  ]
  const right = new Set([1])
  expect(textColumns(rows, { right, widest: 4 })).toEqual(['a      1  x', 'far too wide  22  y'])
  expect(textColumns([])).toEqual([])
})
