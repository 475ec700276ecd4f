import type { Length, Range } from '../declare/logical-types.ts'
import type { JsonObject } from './physical-type.ts'

/** Bounds as text for messages, tables and generated code, and as JSON Schema keywords. */

/** `0 … 4095`, `0 or more`, `at most 1`; undefined without bounds. */
export function rangeText({ min, max }: Range): string | undefined {
  if (min !== undefined && max !== undefined) return `${min} … ${max}`
  if (min !== undefined) return `${min} or more`
  return max === undefined ? undefined : `at most ${max}`
}

/** `at most 64 characters`; undefined without bounds. */
export function lengthText({ max_length }: Length, what: string): string | undefined {
  return max_length === undefined ? undefined : `at most ${max_length} ${what}`
}

/** JSON Schema's `minimum` and `maximum`. */
export function rangeKeywords({ min, max }: Range): JsonObject {
  return { ...(min === undefined ? {} : { minimum: min }), ...(max === undefined ? {} : { maximum: max }) }
}

/** The intersection of two ranges. */
export function within(outer: Required<Range>, { min, max }: Range): Required<Range> {
  return { min: Math.max(outer.min, min ?? outer.min), max: Math.min(outer.max, max ?? outer.max) }
}

/** Whether a text has at most so many characters (code points). Counts them only if its length does not decide. */
export function isAtMost(text: string, characters: number): boolean {
  // A character is one or two UTF-16 units.
  if (text.length <= characters) return true
  if (text.length > characters * 2) return false
  let count = 0
  for (const _character of text) if (++count > characters) return false
  return true
}

/** A JSON Schema keyword; an empty object without a maximum. */
export const maximumOf = (keyword: string, max: number | undefined): JsonObject =>
  max === undefined ? {} : { [keyword]: max }

/** Bounds of a container, then those of each of its items. */
export const outerAndInner = (own: string | undefined, inner: string | undefined): string | undefined =>
  [own, inner && `each ${inner}`].filter(Boolean).join(', ') || undefined
