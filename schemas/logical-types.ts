/**
 * What a value may be, said once. A field is declared with one of these constructors; `physical-types.ts` holds the
 * one table that says what each logical type is in zod, Arrow, DuckDB, JSON Schema and Python.
 */

export type Logical =
  | { readonly kind: 'bool' }
  | { readonly kind: 'int32' }
  | { readonly kind: 'int64' }
  | { readonly kind: 'float32' }
  | { readonly kind: 'float64' }
  | { readonly kind: 'utf8' }
  | { readonly kind: 'timestamp' }
  | { readonly kind: 'one_of'; readonly values: readonly string[] }
  | { readonly kind: 'blob' }
  | { readonly kind: 'image' }
  | { readonly kind: 'list'; readonly item: Field }
  | { readonly kind: 'map'; readonly value: Field }
  | { readonly kind: 'struct'; readonly fields: Fields }
  | { readonly kind: 'tensor'; readonly dtype: TensorDtype; readonly shape: readonly number[] }

export type LogicalKind = Logical['kind']
export type TensorDtype = 'uint8' | 'int32' | 'float32' | 'float64'
export type TensorArray = Uint8Array | Int32Array | Float32Array | Float64Array

/** One declared field; `T` is the TypeScript type of its value and exists at compile time only. */
export interface Field<T = unknown> {
  readonly logical: Logical
  /** Meaning, unit and range, for people: printed by `plumbline events TYPE` and put on the DuckDB column. */
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

/** Reference to an encoded image; two images are equal when their decoded pixels are, whatever the encoder wrote. */
export interface ImageRef extends BlobRef {
  width: number
  height: number
  /** SHA-256 of the decoded pixels, RGB, row by row, 8 bits a channel. */
  pixels_sha256: string
}

export const FIELD_NAME = /^[a-z][a-z0-9_]*$/

function field<T>(logical: Logical, about: string): Field<T> {
  return { logical, about, nullable: false }
}

export const bool = (about = '') => field<boolean>({ kind: 'bool' }, about)
export const int32 = (about = '') => field<number>({ kind: 'int32' }, about)
/** 64-bit integer whose values stay within ±2⁵³, so that JSON and JavaScript keep them exact. */
export const int64 = (about = '') => field<number>({ kind: 'int64' }, about)
export const float32 = (about = '') => field<number>({ kind: 'float32' }, about)
/** Finite: a NaN or an infinity is an invariant broken upstream, never a value. */
export const float64 = (about = '') => field<number>({ kind: 'float64' }, about)
export const utf8 = (about = '') => field<string>({ kind: 'utf8' }, about)
/** A UTC instant in RFC 3339 with milliseconds: `2026-01-31T12:00:00.000Z`. */
export const timestamp = (about = '') => field<string>({ kind: 'timestamp' }, about)
export const blob = (about = '') => field<BlobRef>({ kind: 'blob' }, about)
export const image = (about = '') => field<ImageRef>({ kind: 'image' }, about)

export function oneOf<const V extends readonly string[]>(values: V, about = ''): Field<V[number]> {
  return field({ kind: 'one_of', values }, about)
}
export function list<T>(item: Field<T>, about = ''): Field<readonly T[]> {
  return field({ kind: 'list', item }, about)
}
/** String keys, in any order; equality and encodings sort them. */
export function mapOf<T>(value: Field<T>, about = ''): Field<Record<string, T>> {
  return field({ kind: 'map', value }, about)
}
/** @throws Error when a name is not snake_case: it is spelled the same from the simulator to the SQL prompt. */
export function struct<R extends Fields>(fields: R, about = ''): Field<RowOf<R>> {
  for (const name of Object.keys(fields)) {
    if (!FIELD_NAME.test(name)) throw new Error(`struct field ${name}: expected snake_case`)
  }
  return field({ kind: 'struct', fields }, about)
}
/** Row-major tensor of a fixed shape; in Arrow the canonical `arrow.fixed_shape_tensor` extension type. */
export function tensor(dtype: TensorDtype, shape: readonly number[], about = ''): Field<TensorArray> {
  return field({ kind: 'tensor', dtype, shape }, about)
}
export function nullable<T>(inner: Field<T>): Field<T | null> {
  return { ...inner, nullable: true } as Field<T | null>
}
