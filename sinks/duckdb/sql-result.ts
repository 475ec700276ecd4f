/** A streamed answer: typed columns, and its rows as one Arrow IPC stream in pieces. */
export interface ArrowResult {
  readonly columns: readonly SqlColumn[]
  /**
   * The schema, then one record batch per piece, then the end marker. Iterate once. The query's transaction ends when
   * the iteration ends, fails or stops early.
   */
  readonly chunks: AsyncIterable<Uint8Array>
  /** Releases a result whose chunks will not be read. */
  close(): Promise<void>
}

/** The result of a query, the same from the owner and from the file. Iterate `chunks` or `batches`. */
export interface SqlResult extends ArrowResult {
  /** The same rows as plain JSON; the column's type says how to read them. */
  readonly batches: AsyncIterable<readonly Plain[][]>
}

export interface SqlColumn {
  readonly name: string
  readonly type: SqlType
}

/** A DuckDB type: its SQL name and its parts. */
export interface SqlType {
  readonly name: string
  /** LIST and ARRAY: the elements; MAP: the values. */
  readonly item?: SqlType
  /** MAP: the keys. */
  readonly key?: SqlType
  /** ARRAY. */
  readonly length?: number
  /** STRUCT: its fields, all with empty names if they are unnamed; UNION: its members. */
  readonly fields?: readonly SqlColumn[]
  readonly width?: number
  readonly scale?: number
}

/**
 * A value as JSON. Integers of 64 bits or more and decimals are strings of digits. Instants are RFC 3339 in UTC, with
 * 3, 6 or 9 decimals. Bytes are lower-case hexadecimal. A struct is an object, or a list if its fields have no names; a
 * union is an object with the member that is set; a map is a list of pairs. Numbers that JSON lacks are the strings
 * `NaN`, `Infinity` or `-Infinity`; infinite times are `-infinity` and `infinity`.
 */
export type Plain = null | boolean | number | string | Plain[] | { [name: string]: Plain }

/** Whether a struct's fields have no names: `('left', 'right')`. */
export const isUnnamed = ({ fields = [] }: SqlType): boolean => fields.every(({ name }) => name === '')
