import type { TensorArray } from '../declare/tensor-value.ts'

/** Passes over all elements of a tensor, of which there may be millions: no call and no object for an element. */

export interface Extent {
  readonly min: number
  readonly max: number
  /** Of the elements in their order, added to the sum before them. */
  readonly sum: number
}

export function allFinite(elements: TensorArray): boolean {
  if (elements instanceof Uint8Array || elements instanceof Int32Array) return true
  const { areFinite } = passesOf(elements)
  for (let from = 0; from < elements.length; from += STEP) {
    if (!areFinite(elements, from, Math.min(from + STEP, elements.length))) return false
  }
  return true
}

/** @param sum of the elements before these */
export function extentOf(elements: TensorArray, sum: number): Extent {
  const { findExtent } = passesOf(elements)
  found.set([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, sum])
  for (let from = 0; from < elements.length; from += STEP) {
    findExtent(elements, from, Math.min(from + STEP, elements.length), found)
  }
  const [min, max, whole] = found as unknown as [number, number, number]
  return { min, max, sum: whole }
}

/**
 * Elements for each call of a pass. V8 optimises what is called often, and is slow to do so within a single call, which
 * a whole tensor would be.
 */
const STEP = 4096

/** Minimum, maximum and sum. Not an object: V8 discards optimised code when an integer in one becomes a fraction. */
const found = new Float64Array(3)

interface Passes {
  readonly areFinite: typeof areFinite
  readonly findExtent: typeof findExtent
}

const passes = new Map<unknown, Passes>()

/**
 * V8 compiles a function once for all arrays that it was called with, and a loop over arrays of several types takes ten
 * times as long and more. So each type of array has functions of its own.
 */
function passesOf(elements: TensorArray): Passes {
  const known = passes.get(elements.constructor)
  if (known !== undefined) return known
  const own: Passes = { areFinite: copied(areFinite), findExtent: copied(findExtent) }
  passes.set(elements.constructor, own)
  return own
}

/** Made from the function's text, which refers to nothing outside of it. */
const copied = <F>(pass: F): F => new Function(`return ${pass}`)()

function areFinite(elements: TensorArray, from: number, to: number): boolean {
  // x − x is 0 for a finite x, else NaN.
  let sum = 0
  for (let at = from; at < to; at++) sum += (elements[at] as number) - (elements[at] as number)
  return sum === 0
}

/** Extends what was found before. */
function findExtent(elements: TensorArray, from: number, to: number, into: Float64Array): void {
  // Four of each, because every comparison would otherwise wait for the one before it.
  let min0 = into[0] as number
  let min1 = min0
  let min2 = min0
  let min3 = min0
  let max0 = into[1] as number
  let max1 = max0
  let max2 = max0
  let max3 = max0
  let sum = into[2] as number
  let at = from
  for (; at < to - 3; at += 4) {
    const a = elements[at] as number
    const b = elements[at + 1] as number
    const c = elements[at + 2] as number
    const d = elements[at + 3] as number
    min0 = Math.min(min0, a)
    max0 = Math.max(max0, a)
    min1 = Math.min(min1, b)
    max1 = Math.max(max1, b)
    min2 = Math.min(min2, c)
    max2 = Math.max(max2, c)
    min3 = Math.min(min3, d)
    max3 = Math.max(max3, d)
    sum += a
    sum += b
    sum += c
    sum += d
  }
  for (; at < to; at++) {
    const element = elements[at] as number
    min0 = Math.min(min0, element)
    max0 = Math.max(max0, element)
    sum += element
  }
  into[0] = Math.min(min0, min1, min2, min3)
  into[1] = Math.max(max0, max1, max2, max3)
  into[2] = sum
}
