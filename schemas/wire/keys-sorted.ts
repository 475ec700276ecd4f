import type { Json } from './physical-type.ts'

/** The same JSON value with the keys of every object in the order of their UTF-16 code units. */
export function keysSorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(keysSorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([key, inner]) => [key, keysSorted(inner)]))
}
