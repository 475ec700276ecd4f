import { VALUE_NAME } from '../declare/declared-value.ts'
import type { DeclaredValue, Field, Fields, Logical, LogicalKind, Range } from '../declare/logical-types.ts'
import { perObject } from '../declare/per-object.ts'
import { isAtMost } from './bounds.ts'
import { asDeclared, byDeclaration, isObject, isVersion, unknownVersion } from './declared-type.ts'
import { isTensorOf } from './tensor-type.ts'
import { isMediaType, isSha256, isTimestamp } from './value-checks.ts'

/**
 * Whether a value matches its field's declaration: no copy, no path, no message. Zod decides, but costs ten times as
 * much, so it runs only on values that these checks reject, and gives the reason. These checks may therefore reject
 * too much, but never too little: a test compares the two.
 */
export type Fits = (value: unknown) => boolean

type Of<K extends LogicalKind> = Extract<Logical, { kind: K }>
type QuickChecks = { readonly [K in LogicalKind]: (logical: Of<K>) => Fits }

const isText: Fits = (value) => typeof value === 'string' && value.isWellFormed()
const isFloat: Fits = (value) => Number.isFinite(value)
const isCount: Fits = (value) => Number.isSafeInteger(value) && (value as number) >= 0
// Check the type first: `|` converts an object to a number, and some objects throw.
const isInt32: Fits = (value) => typeof value === 'number' && (value | 0) === value

const isHash: Fits = (value) => typeof value === 'string' && isSha256(value)
const isMedia: Fits = (value) => typeof value === 'string' && isMediaType(value)
const blob = { sha256: isHash, bytes: isCount, media_type: isMedia }

const isInt64: Fits = (value) => Number.isSafeInteger(value)
const isFloat32: Fits = (value) => isFloat(value) && Math.fround(value as number) === value

function inRange(fits: Fits, { min, max }: Range): Fits {
  if (min === undefined && max === undefined) return fits
  const [least, most] = [min ?? -Infinity, max ?? Infinity]
  return (value) => fits(value) && (value as number) >= least && (value as number) <= most
}

function isInt32In({ min = -(2 ** 31), max = 2 ** 31 - 1 }: Range): Fits {
  return (value) => typeof value === 'number' && (value | 0) === value && value >= min && value <= max
}

/** Makes no call per item: lists of token ids are the longest lists. */
function isInt32List({ min = -(2 ** 31), max = 2 ** 31 - 1 }: Range, max_length: number): Fits {
  return (value) => {
    if (!Array.isArray(value) || value.length > max_length) return false
    for (let at = 0; at < value.length; at++) {
      const item: unknown = value[at]
      if (typeof item !== 'number' || (item | 0) !== item || item < min || item > max) return false
    }
    return true
  }
}

const quickChecks: QuickChecks = {
  bool: () => (value) => typeof value === 'boolean',
  int32: (range) => (range.min === undefined && range.max === undefined ? isInt32 : isInt32In(range)),
  int64: (range) => inRange(isInt64, range),
  float32: (range) => inRange(isFloat32, range),
  float64: (range) => inRange(isFloat, range),
  utf8: ({ max_length }) =>
    max_length === undefined
      ? isText
      : (value) => typeof value === 'string' && isAtMost(value, max_length) && value.isWellFormed(),
  timestamp: () => (value) => typeof value === 'string' && isTimestamp(value),
  one_of: ({ values }) => {
    const known = new Set<unknown>(values)
    return (value) => known.has(value)
  },
  blob: () => isRecord(blob),
  image: ({ max_side = 2 ** 31 - 1 }) => {
    const side = isInt32In({ min: 1, max: max_side })
    return isRecord({ ...blob, width: side, height: side, pixels_sha256: isHash })
  },
  list: ({ item, max_length = Infinity }) => {
    if (item.logical.kind === 'int32' && !item.nullable) return isInt32List(item.logical, max_length)
    const fits = fitsOf(item)
    return (value) => {
      if (!Array.isArray(value) || value.length > max_length) return false
      for (let at = 0; at < value.length; at++) if (!fits(value[at])) return false
      return true
    }
  },
  map: ({ value: inner, max_length = Infinity }) => {
    const fits = fitsOf(inner)
    return (value) => {
      if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return false
      const keys = Reflect.ownKeys(value)
      if (keys.length > max_length) return false
      for (const key of keys) {
        if (key === '__proto__' || !isText(key) || !fits((value as Record<PropertyKey, unknown>)[key])) return false
      }
      return true
    }
  },
  struct: ({ fields }) => isRow(fields),
  tensor: isTensorOf,
  declared: ({ loosened = asDeclared }) => {
    const checkOf = byDeclaration((field) => fitsOf(loosened(field)))
    return (value) => {
      if (!isDeclared(value)) return false
      const declared = value as DeclaredValue
      const fits = checkOf(declared)
      return fits === undefined ? unknownVersion(declared) === undefined : fits(declared.value)
    }
  },
}

function fitsOf({ logical, nullable }: Field): Fits {
  const check = quickChecks[logical.kind] as (logical: Logical) => Fits
  const fits = check(logical)
  return nullable ? (value) => value === null || fits(value) : fits
}

function isRow(fields: Fields): Fits {
  return isRecord(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, fitsOf(field)])))
}

/** An object with exactly these fields. */
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

/** Whatever its declaration, which gives the fields of `value`. */
const isDeclared = isRecord({
  declaration: (name) => typeof name === 'string' && VALUE_NAME.test(name),
  version: isVersion,
  value: isObject,
})

/** The check of one row of an event, cached. */
export const rowFits = perObject(isRow)
