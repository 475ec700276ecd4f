import { expect, test } from 'vitest'
import { nearest } from './nearest-names.ts'

test('the nearest names come first, and those that contain what was typed before them', () => {
  expect(nearest('polcy-2', ['encoder', 'policy-3', 'policy-2', 'old-polcy-2'], 3)).toEqual([
    'old-polcy-2',
    'policy-2',
    'policy-3',
  ])
})

test('at most so many are listed, equals by name', () => {
  expect(nearest('a', ['b', 'd', 'c'], 2)).toEqual(['b', 'c'])
})
