import type { Field as ArrowField, Data, DataType } from 'apache-arrow'
import type { z } from 'zod'
import type { ColumnBody, ColumnReader, ColumnWriter } from './arrow-columns.ts'
import type { CanonicalBytes } from './canonical-bytes.ts'
import type { Field } from './logical-types.ts'

export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [name: string]: Json
}

/** A value inside another one: `[2]` of a list, `.dx` of a struct, `.bonus` of a map. */
export interface Part {
  readonly segment: string
  readonly field: Field
  readonly value: unknown
}

export type FromJson = (json: unknown) => unknown
export type WriteCanonical<V = unknown> = (bytes: CanonicalBytes, value: V) => void

/**
 * What one logical type is, everywhere: a row of the table in `physical-types.ts`. A type that holds others gets `of`,
 * which turns a field of its own into the same kind of thing. Nullability is handled in there, once for all types: no
 * row ever sees a null.
 */
export interface PhysicalType<L, V = unknown> {
  /** Strict; every schema carries its own `error`, the text after "expected" in a message. */
  zod(logical: L, of: (field: Field) => z.ZodType): z.ZodType
  jsonSchema(logical: L, of: (field: Field) => JsonObject): JsonObject
  /** Gives objects in the declared order and maps sorted, so that equal values are equal bytes. */
  toJson(logical: L, of: (field: Field) => (value: unknown) => unknown): (value: V) => unknown
  /** Undefined: what JSON.parse gives is the value. A value it cannot read it passes on, for validation to name. */
  fromJson(logical: L, of: (field: Field) => FromJson | undefined): FromJson | undefined
  arrow(logical: L, of: (name: string, field: Field) => ArrowField): DataType
  /** Of the Arrow field that has this type. */
  arrowMetadata(logical: L): ReadonlyMap<string, string> | undefined
  arrowWrite(logical: L, of: (field: Field) => ColumnWriter, type: DataType): (values: readonly V[]) => ColumnBody
  arrowRead(logical: L, of: (field: Field) => ColumnReader): (data: Data) => V[]
  /** What lies under a null in Arrow. */
  blank(logical: L, of: (field: Field) => unknown): V
  /** Whether a large Arrow column of it goes to a blob beside the event. */
  readonly offloads: boolean
  duckdb(logical: L, of: (field: Field) => string): string
  pyarrow(logical: L, of: (name: string, field: Field) => string): string
  /** For the canonical hash: two values are equal when these bytes are. */
  canonical(logical: L, of: (field: Field) => WriteCanonical): WriteCanonical<V>
  /** Undefined for a value that has no parts. */
  parts(logical: L, value: V): readonly Part[] | undefined
  /** The declaration less what is for people: what a fingerprint is taken over. */
  declared(logical: L, of: (field: Field) => Json): JsonObject
}
