import {
  type DuckDBArrayType,
  type DuckDBDecimalType,
  type DuckDBListType,
  type DuckDBMapType,
  type DuckDBStructType,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBUnionType,
  DuckDBUTinyIntType,
  DuckDBVector,
} from '@duckdb/node-api'
import duckdb, { type Vector } from '@duckdb/node-bindings'
import type { Budget } from './sql-arrow-budget.ts'

/**
 * A vector of a chunk, with its nested vectors. DuckDB's client copies on each access, so each vector is read once per
 * chunk, however many batches are cut from it.
 */
export interface Opened {
  readonly type: DuckDBType
  /** Bitmap in 64-bit words, 0 for NULL; undefined if no value is NULL. */
  readonly validity: Uint8Array | undefined
  /** Fixed-width values, string_t, or the offset and length of each list. */
  readonly data: Uint8Array
  /** LIST, ARRAY: the elements; MAP: its entries; STRUCT: its fields; UNION: the tag and the members. */
  readonly children: readonly Opened[]
  /** Values of a type without an Arrow form, as read by DuckDB's client. */
  readonly spelled: DuckDBVector | undefined
}

/** Bytes per position of a vector; a list has an offset and a length, a text a string_t. */
const WIDTHS: ReadonlyMap<DuckDBTypeId, number> = new Map([
  [DuckDBTypeId.BOOLEAN, 1],
  [DuckDBTypeId.TINYINT, 1],
  [DuckDBTypeId.UTINYINT, 1],
  [DuckDBTypeId.SMALLINT, 2],
  [DuckDBTypeId.USMALLINT, 2],
  [DuckDBTypeId.INTEGER, 4],
  [DuckDBTypeId.UINTEGER, 4],
  [DuckDBTypeId.FLOAT, 4],
  [DuckDBTypeId.DATE, 4],
  [DuckDBTypeId.BIGINT, 8],
  [DuckDBTypeId.UBIGINT, 8],
  [DuckDBTypeId.DOUBLE, 8],
  [DuckDBTypeId.TIMESTAMP, 8],
  [DuckDBTypeId.TIMESTAMP_S, 8],
  [DuckDBTypeId.TIMESTAMP_MS, 8],
  [DuckDBTypeId.TIMESTAMP_NS, 8],
  [DuckDBTypeId.TIMESTAMP_TZ, 8],
  [DuckDBTypeId.HUGEINT, 16],
  [DuckDBTypeId.UHUGEINT, 16],
  [DuckDBTypeId.VARCHAR, 16],
  [DuckDBTypeId.BLOB, 16],
  [DuckDBTypeId.GEOMETRY, 16],
  [DuckDBTypeId.LIST, 16],
  [DuckDBTypeId.MAP, 16],
  [DuckDBTypeId.ARRAY, 0],
  [DuckDBTypeId.STRUCT, 0],
  [DuckDBTypeId.UNION, 0],
])
/** Approximate bytes per value that the client needs for a type without an Arrow form. */
const SPELLED_BYTES = 16
const NOTHING = new Uint8Array(0)

export function widthOf(type: DuckDBType): number | undefined {
  if (type.typeId !== DuckDBTypeId.DECIMAL) return WIDTHS.get(type.typeId)
  const { width } = type as DuckDBDecimalType
  return width > 18 ? 16 : width > 9 ? 8 : width > 4 ? 4 : 2
}

/** @throws TooLargeError when the chunk exceeds `budget`, before more than that has been copied. */
export function opened(type: DuckDBType, vector: Vector, size: number, budget: Budget): Opened {
  const width = widthOf(type)
  budget.take(size * (width ?? SPELLED_BYTES) + Math.ceil(size / 8))
  const words = duckdb.vector_get_validity(vector, Math.ceil(size / 64) * 8) as Uint8Array | null
  return {
    type,
    validity: words ?? undefined,
    data: width === undefined || width === 0 ? NOTHING : duckdb.vector_get_data(vector, size * width),
    children: childrenOf(type, vector, size, budget),
    spelled: width === undefined ? DuckDBVector.create(vector, size, type) : undefined,
  }
}

function childrenOf(type: DuckDBType, vector: Vector, size: number, budget: Budget): Opened[] {
  switch (type.typeId) {
    case DuckDBTypeId.LIST:
      return [opened((type as DuckDBListType).valueType, ...elementsOf(vector), budget)]
    case DuckDBTypeId.MAP: {
      const { keyType, valueType } = type as DuckDBMapType
      const [entries, count] = elementsOf(vector)
      return fieldsOf([keyType, valueType], entries, count, budget)
    }
    case DuckDBTypeId.ARRAY: {
      const { valueType, length } = type as DuckDBArrayType
      return [opened(valueType, duckdb.array_vector_get_child(vector), size * length, budget)]
    }
    case DuckDBTypeId.STRUCT:
      return fieldsOf((type as DuckDBStructType).entryTypes, vector, size, budget)
    case DuckDBTypeId.UNION:
      return fieldsOf([DuckDBUTinyIntType.instance, ...(type as DuckDBUnionType).memberTypes], vector, size, budget)
    default:
      return []
  }
}

const elementsOf = (vector: Vector): [Vector, number] => [
  duckdb.list_vector_get_child(vector),
  duckdb.list_vector_get_size(vector),
]

const fieldsOf = (types: readonly DuckDBType[], vector: Vector, size: number, budget: Budget): Opened[] =>
  types.map((type, at) => opened(type, duckdb.struct_vector_get_child(vector, at), size, budget))
