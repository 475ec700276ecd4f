export type TensorDtype = 'uint8' | 'int32' | 'float16' | 'float32' | 'float64'
export type TensorArray = Uint8Array | Int32Array | Float16Array | Float32Array | Float64Array

/** A column of tensors that is stored in a blob, as the event itself describes it. */
export interface StoredColumn {
  readonly sha256: string
  readonly bytes: number
  readonly media_type: string
  readonly rows: number
  /** The declared type, with dtype and shape. */
  readonly type: unknown
  /** Count of the numbers in the column. Without any, the three below are null. */
  readonly numbers: number
  readonly min: number | null
  readonly max: number | null
  readonly mean: number | null
  /** The rows that are null, ascending; absent where the field cannot be null. */
  readonly nulls?: readonly number[]
}

/**
 * One tensor of a stored column, in place of its elements: they are read on request, and a transform
 * can pass the reference on without reading them. The statistics are those of the whole column.
 */
export class TensorRef {
  readonly column: StoredColumn
  /** Row of the column. */
  readonly row: number

  constructor(column: StoredColumn, row: number) {
    this.column = column
    this.row = row
  }

  toString(): string {
    return `row ${this.row} of the tensors in blob ${this.column.sha256}`
  }
}

/** The value of a tensor field: its elements, row by row, or where they are. */
export type TensorValue = TensorArray | TensorRef
