import type { Field, Fields, Logical, LogicalKind } from './logical-types.ts'
import { isMediaType, isSha256, isTimestamp } from './value-checks.ts'

/**
 * Whether a value is what its field declares, and nothing else: no copy, no path, no message. Zod's answer is the one
 * that counts and costs ten times as much; it is asked only about what these refuse, and then says why. So these may
 * refuse too much and never too little: a test holds the two against each other.
 */
export type Fits = (value: unknown) => boolean

type Of<K extends LogicalKind> = Extract<Logical, { kind: K }>
type QuickChecks = { readonly [K in LogicalKind]: (logical: Of<K>) => Fits }

const isText: Fits = (value) => typeof value === 'string' && value.isWellFormed()
const isFloat: Fits = (value) => Number.isFinite(value)
const isCount: Fits = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isExtent: Fits = (value) => isInt32(value) && (value as number) >= 1
// The type first: `|` asks an object for its number, and some throw.
const isInt32: Fits = (value) => typeof value === 'number' && (value | 0) === value

const isHash: Fits = (value) => typeof value === 'string' && isSha256(value)
const isMedia: Fits = (value) => typeof value === 'string' && isMediaType(value)
const blob = { sha256: isHash, bytes: isCount, media_type: isMedia }
const image = { ...blob, width: isExtent, height: isExtent, pixels_sha256: isHash }

const quickChecks: QuickChecks = {
  bool: () => (value) => typeof value === 'boolean',
  int32: () => isInt32,
  int64: () => (value) => Number.isSafeInteger(value),
  float32: () => (value) => isFloat(value) && Math.fround(value as number) === value,
  float64: () => isFloat,
  utf8: () => isText,
  timestamp: () => (value) => typeof value === 'string' && isTimestamp(value),
  one_of: ({ values }) => {
    const known = new Set<unknown>(values)
    return (value) => known.has(value)
  },
  blob: () => isRecord(blob),
  image: () => isRecord(image),
  list: ({ item }) => {
    const fits = fitsOf(item)
    return (value) => {
      if (!Array.isArray(value)) return false
      for (let at = 0; at < value.length; at++) if (!fits(value[at])) return false
      return true
    }
  },
  map: ({ value: inner }) => {
    const fits = fitsOf(inner)
    return (value) => {
      if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return false
      for (const key of Reflect.ownKeys(value)) {
        if (key === '__proto__' || !isText(key) || !fits((value as Record<PropertyKey, unknown>)[key])) return false
      }
      return true
    }
  },
  struct: ({ fields }) => isRow(fields),
  // One look at a typed array, which zod does as fast.
  tensor: () => () => false,
}

function fitsOf({ logical, nullable }: Field): Fits {
  const check = quickChecks[logical.kind] as (logical: Logical) => Fits
  const fits = check(logical)
  return nullable ? (value) => value === null || fits(value) : fits
}

function isRow(fields: Fields): Fits {
  return isRecord(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fitsOf(field)])))
}

/** Every field, and no other. */
function isRecord(fields: { readonly [name: string]: Fits }): Fits {
  const names = Object.keys(fields)
  const checks = Object.values(fields)
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
    let found = 0
    for (const _name in value) found++
    if (found !== names.length) return false
    for (let at = 0; at < names.length; at++) {
      if (!(checks[at] as Fits)((value as Record<string, unknown>)[names[at] as string])) return false
    }
    return true
  }
}

const rowChecks = new WeakMap<Fields, Fits>()

/** Of one row of an event. */
export function rowFits(fields: Fields): Fits {
  const known = rowChecks.get(fields)
  if (known !== undefined) return known
  const fits = isRow(fields)
  rowChecks.set(fields, fits)
  return fits
}
