import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { TensorArray } from '../declare/tensor-value.ts'
import { allFinite, extentOf } from './tensor-passes.ts'

const DTYPES = [Uint8Array, Int32Array, Float16Array, Float32Array, Float64Array]
const plain = (elements: TensorArray) => Array.from(elements as Iterable<number>)

test.each(DTYPES)('%o: minimum, maximum and sum are those of the elements, taken in their order', (ArrayType) => {
  const some = fc.array(fc.double({ min: -60_000, max: 60_000, noNaN: true }), { maxLength: 23 })
  // Now and then so many that they are taken in several steps.
  const elements = fc
    .tuple(some, fc.constantFrom(1, 1, 1, 700))
    .map(([values, times]) => Array(times).fill(values).flat())
  fc.assert(
    fc.property(elements, fc.double({ noNaN: true, noDefaultInfinity: true }), (values, before) => {
      const tensor = ArrayType.from(values)
      const numbers = plain(tensor)
      expect(extentOf(tensor, before)).toEqual({
        min: Math.min(...numbers),
        max: Math.max(...numbers),
        sum: numbers.reduce((sum, number) => sum + number, before),
      })
      expect(allFinite(tensor)).toBe(true)
    }),
    { numRuns: 60 },
  )
})

test.each([Float16Array, Float32Array, Float64Array])('%o: one element that is not finite is found', (ArrayType) => {
  for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const at of [0, 1, 4_095, 4_096, 8_999]) {
      const tensor = new ArrayType(9_000).fill(1)
      tensor[at] = wrong
      expect(allFinite(tensor)).toBe(false)
    }
  }
})
