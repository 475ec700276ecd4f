import { expect, test } from 'vitest'
import { bearerOf } from './bearer.ts'
import { rangeOf } from './byte-range.ts'

test.each([
  ['Bearer abc', 'abc'],
  ['bearer   abc  ', 'abc'],
  ['BEARER a secret', 'a secret'],
  ['Bearer', undefined],
  ['Bearer   ', undefined],
  ['Basic abc', undefined],
  ['xBearer abc', undefined],
  [undefined, undefined],
])('the token of %j is %j', (header, token) => {
  expect(bearerOf(header)).toBe(token)
})

test.each([
  ['bytes=0-3', { from: 0, to: 3 }],
  ['bytes=4-', { from: 4, to: 9 }],
  ['bytes=-3', { from: 7, to: 9 }],
  ['bytes=-99', { from: 0, to: 9 }],
  ['bytes=4-99', { from: 4, to: 9 }],
  ['bytes=10-', 'beyond'],
  ['bytes=-0', 'beyond'],
  ['bytes=99999999999999999999-', 'beyond'],
  ['bytes=5-1', undefined],
  ['bytes=-', undefined],
  ['bytes=0-1,4-5', undefined],
  ['lines=0-1', undefined],
  [undefined, undefined],
])('of ten bytes, the range of %j is %j', (header, range) => {
  expect(rangeOf(header, 10)).toEqual(range)
})
