import type { TensorDtype, TensorValue } from './tensor-value.ts'

/**
 * The logical types. A field is declared with one of these constructors; one table, in `type-table.ts`, maps each
 * logical type to zod, Arrow, DuckDB, JSON Schema and Python.
 */

export type Logical =
  | { readonly kind: 'bool' }
  | ({ readonly kind: 'int32' } & Range)
  | ({ readonly kind: 'int64' } & Range)
  | ({ readonly kind: 'float32' } & Range)
  | ({ readonly kind: 'float64' } & Range)
  | ({ readonly kind: 'utf8' } & Length)
  | { readonly kind: 'timestamp' }
  | { readonly kind: 'one_of'; readonly values: readonly string[] }
  | { readonly kind: 'blob' }
  | ({ readonly kind: 'image' } & Sides)
  | ({ readonly kind: 'list'; readonly item: Field } & Length)
  | ({ readonly kind: 'map'; readonly value: Field } & Length)
  | { readonly kind: 'struct'; readonly fields: Fields }
  | { readonly kind: 'tensor'; readonly dtype: TensorDtype; readonly shape: readonly number[] }
  /** `loosened`: takes the bounds off a field of the value. */
  | { readonly kind: 'declared'; readonly loosened?: (field: Field) => Field }

/** Inclusive at both ends. */
export interface Range {
  readonly min?: number
  readonly max?: number
}
/** In characters (Unicode code points) for a text, in items for a list, in entries for a map. */
export interface Length {
  readonly max_length?: number
}
export interface Sides {
  /** Width and height, pixels. */
  readonly max_side?: number
}
/**
 * Limits on a value, so that a number read from a record cannot cause an arbitrarily large allocation. Bounds are
 * checked and shown, but are not part of a fingerprint: they do not change how a record is encoded.
 */
export type Bounds = Range & Length & Sides

export type LogicalKind = Logical['kind']

/** One declared field; `T` is the TypeScript type of its value and exists at compile time only. */
export interface Field<T = unknown> {
  readonly logical: Logical
  /** Meaning, unit and range, for people: printed by `plumbline events TYPE`, and the comment of the DuckDB column. */
  readonly about: string
  readonly nullable: boolean
  readonly value?: T
}

export type Fields = { readonly [name: string]: Field }
export type ValueOf<F> = F extends Field<infer T> ? T : never
export type RowOf<R extends Fields> = { [K in keyof R]: ValueOf<R[K]> }

/** Reference to immutable content-addressed bytes. */
export interface BlobRef {
  sha256: string
  bytes: number
  media_type: string
}

/** Reference to an encoded image. Two encodings of the same pixels have the same `pixels_sha256`. */
export interface ImageRef extends BlobRef {
  width: number
  height: number
  /** SHA-256 of the decoded pixels, RGB, row by row, 8 bits a channel. */
  pixels_sha256: string
}

/** A value with the name and version of its declaration. */
export interface DeclaredValue {
  readonly declaration: string
  readonly version: number
  readonly value: Readonly<Record<string, unknown>>
}

export const FIELD_NAME = /^[a-z][a-z0-9_]*$/

function field<T>(logical: Logical, about: string): Field<T> {
  return { logical, about, nullable: false }
}

/** A constructor's arguments: bounds, then description; either may be left out. */
type Declared<B> = [about?: string] | [bounds: B, about?: string]

function scalar<T, B extends Bounds>(kind: 'int32' | 'int64' | 'float32' | 'float64' | 'utf8' | 'image') {
  return (...declared: Declared<B>): Field<T> => {
    const [bounds, about] = boundsAndWords(declared)
    return field<T>({ kind, ...bounds }, about)
  }
}

/** @throws Error when a bound is NaN, or the lower bound is above the upper one. */
function boundsAndWords<B extends Bounds>(declared: Declared<B>): [B | undefined, string] {
  const [first, second] = declared
  if (first === undefined || typeof first === 'string') return [undefined, first ?? '']
  const { min = -Infinity, max = Infinity } = first
  if (!(min <= max) || Object.values(first).some(Number.isNaN)) {
    throw new Error(`bounds ${JSON.stringify(first)}: expected numbers, min ≤ max`)
  }
  return [first, second ?? '']
}

export const bool = (about = '') => field<boolean>({ kind: 'bool' }, about)
export const int32 = scalar<number, Range>('int32')
/** 64-bit integer whose values are within ±(2⁵³−1), so that JSON and JavaScript represent them exactly. */
export const int64 = scalar<number, Range>('int64')
export const float32 = scalar<number, Range>('float32')
/** Finite: a NaN or an infinity is a bug upstream, never a value. */
export const float64 = scalar<number, Range>('float64')
export const utf8 = scalar<string, Length>('utf8')
/** A UTC instant in RFC 3339 with milliseconds: `2026-01-31T12:00:00.000Z`. */
export const timestamp = (about = '') => field<string>({ kind: 'timestamp' }, about)
export const blob = (about = '') => field<BlobRef>({ kind: 'blob' }, about)
export const image = scalar<ImageRef, Sides>('image')

export function oneOf<const V extends readonly string[]>(values: V, about = ''): Field<V[number]> {
  return field({ kind: 'one_of', values }, about)
}
export function list<T>(item: Field<T>, ...declared: Declared<Length>): Field<readonly T[]> {
  const [bounds, about] = boundsAndWords(declared)
  return field({ kind: 'list', item, ...bounds }, about)
}
/** String keys, in any order; equality and encodings sort them. */
export function mapOf<T>(value: Field<T>, ...declared: Declared<Length>): Field<Record<string, T>> {
  const [bounds, about] = boundsAndWords(declared)
  return field({ kind: 'map', value, ...bounds }, about)
}
/** @throws Error when a name is not snake_case: one spelling is used from the simulator to the SQL prompt. */
export function struct<R extends Fields>(fields: R, about = ''): Field<RowOf<R>> {
  for (const name of Object.keys(fields)) {
    if (!FIELD_NAME.test(name)) throw new Error(`struct field ${name}: expected snake_case`)
  }
  return field({ kind: 'struct', fields }, about)
}
/** The first of these kinds that a type is, or has inside; undefined for none. */
export function kindIn<K extends LogicalKind>(logical: Logical, kinds: readonly K[]): K | undefined {
  const own = kinds.find((kind) => kind === logical.kind)
  if (own !== undefined) return own
  const inside = (field: Field) => kindIn(field.logical, kinds)
  if (logical.kind === 'list') return inside(logical.item)
  if (logical.kind === 'map') return inside(logical.value)
  if (logical.kind !== 'struct') return undefined
  for (const field of Object.values(logical.fields)) {
    const found = inside(field)
    if (found !== undefined) return found
  }
  return undefined
}

const MAX_ELEMENTS = 2 ** 28

/**
 * Row-major tensor of a fixed shape; in Arrow the canonical `arrow.fixed_shape_tensor` extension type. Where the column
 * is stored outside of its event, the value that is read is a `TensorRef`.
 * @throws Error when an extent is not a positive whole number, or there are more than 2²⁸ elements.
 */
export function tensor(dtype: TensorDtype, shape: readonly number[], about = ''): Field<TensorValue> {
  const elements = shape.reduce((product, extent) => product * extent, 1)
  if (!shape.every((extent) => Number.isSafeInteger(extent) && extent > 0) || elements > MAX_ELEMENTS) {
    throw new Error(`tensor shape [${shape.join(', ')}]: expected positive extents, at most ${MAX_ELEMENTS} elements`)
  }
  return field({ kind: 'tensor', dtype, shape }, about)
}
/** A value that a domain declares, see `declared-value.ts`. Only a row's own fields have this type. */
export const declared = (about = '') => field<DeclaredValue>({ kind: 'declared' }, about)

export function nullable<T>(inner: Field<T>): Field<T | null> {
  return { ...inner, nullable: true } as Field<T | null>
}
