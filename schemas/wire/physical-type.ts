import type { Field as ArrowField, Data, DataType } from 'apache-arrow'
import type { z } from 'zod'
import type { Field, Logical } from '../declare/logical-types.ts'
import type { ColumnBody, ColumnReader, ColumnWriter } from './arrow-columns.ts'
import type { CanonicalBytes } from './canonical-bytes.ts'

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
 * All representations of one logical type: a row of the table in `type-table.ts`. A container type gets `of`, which
 * gives the same representation of an inner field. `of` also handles nullability, once for all types, so that no row
 * ever sees a null.
 */
export interface PhysicalType<L, V = unknown> {
  /** Strict; every schema has its own `error`, the text after "expected" in a message. */
  zod(logical: L, of: (field: Field) => z.ZodType): z.ZodType
  jsonSchema(logical: L, of: (field: Field) => JsonObject): JsonObject
  /** Writes struct fields in the declared order and map keys sorted, so that equal values give equal bytes. */
  toJson(logical: L, of: (field: Field) => (value: unknown) => unknown): (value: V) => unknown
  /** Undefined: the result of JSON.parse is the value. Passes on unreadable values, for validation to report. */
  fromJson(logical: L, of: (field: Field) => FromJson | undefined): FromJson | undefined
  /** A valid value as one of the current declaration, where a value has a version of its own. Fields of a row only. */
  upcast?(logical: L): (value: V) => V
  arrow(logical: L, of: (name: string, field: Field) => ArrowField): DataType
  /** Metadata of an Arrow field of this type. */
  arrowMetadata(logical: L): ReadonlyMap<string, string> | undefined
  arrowWrite(logical: L, of: (field: Field) => ColumnWriter, type: DataType): (values: readonly V[]) => ColumnBody
  arrowRead(logical: L, of: (field: Field) => ColumnReader): (data: Data) => V[]
  /** The value that Arrow's buffers contain under a null. */
  blank(logical: L, of: (field: Field) => unknown): V
  /** Whether a large Arrow column of this type is stored in a blob outside the event. */
  readonly offloads: boolean
  /** Whether a value in such a blob is read as a reference, a `TensorRef`, until its elements are asked for. */
  readonly by_reference: boolean
  duckdb(logical: L, of: (field: Field) => string): string
  pyarrow(logical: L, of: (name: string, field: Field) => string): string
  /** For the canonical hash: two values are equal if these bytes are. */
  canonical(logical: L, of: (field: Field) => WriteCanonical): WriteCanonical<V>
  /** For types whose content may have several encodings: equal bytes for equal content. Default: `canonical`. */
  alike?(logical: L, of: (field: Field) => WriteCanonical): WriteCanonical<V>
  /** Undefined for a value that has no parts. */
  parts(logical: L, value: V): readonly Part[] | undefined
  /** The type without its own bounds and those of its inner fields. */
  unbounded(logical: L, of: (field: Field) => Field): Logical
  /** The bounds as text, `0 … 4095`; undefined without any. `of`: the bounds of an inner field. */
  bounds(logical: L, of: (field: Field) => string | undefined): string | undefined
  /** The declaration without descriptions and bounds: the input of a fingerprint. */
  declared(logical: L, of: (field: Field) => Json): JsonObject
}
