import {
  arrayValue,
  BLOB,
  blobValue,
  type DuckDBArrayType,
  type DuckDBListType,
  type DuckDBMapType,
  type DuckDBStructType,
  DuckDBTimestampTZValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
  listValue,
  mapValue,
  structValue,
} from '@duckdb/node-api'

type ToDuckDb = (value: unknown) => DuckDBValue

/**
 * Compiles the conversion of an in-memory value (of an event or a record) to the type of a DuckDB column, nested types
 * included. null and undefined become NULL.
 *
 * @throws Error for a type that no event field is stored in; from the compiled function, for a value that does not fit.
 */
export function toDuckDb(type: DuckDBType): ToDuckDb {
  const present = converterOfPresent(type)
  return (value) => (value === null || value === undefined ? null : present(value))
}

function converterOfPresent(type: DuckDBType): ToDuckDb {
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
    case DuckDBTypeId.ENUM:
      return (value) => value as DuckDBValue
    case DuckDBTypeId.VARCHAR:
      if (type.alias === 'JSON') return (value) => jsonText(value)
      return (value) => value as DuckDBValue
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.UINTEGER:
      return (value) => value as number
    case DuckDBTypeId.BIGINT:
    case DuckDBTypeId.UBIGINT:
      return (value) => BigInt(value as number | bigint)
    case DuckDBTypeId.TIMESTAMP_TZ:
      return (value) => new DuckDBTimestampTZValue(microsOf(value as string))
    case BLOB.typeId:
      return (value) => blobValue(value as Uint8Array)
    case DuckDBTypeId.LIST: {
      const item = toDuckDb((type as DuckDBListType).valueType)
      return (value) => listValue(Array.from(value as ArrayLike<unknown>, item))
    }
    case DuckDBTypeId.ARRAY: {
      const item = toDuckDb((type as DuckDBArrayType).valueType)
      return (value) => arrayValue(Array.from(value as ArrayLike<unknown>, item))
    }
    case DuckDBTypeId.MAP: {
      const item = toDuckDb((type as DuckDBMapType).valueType)
      return (value) =>
        mapValue(Object.entries(value as Record<string, unknown>).map(([key, inner]) => ({ key, value: item(inner) })))
    }
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type as DuckDBStructType
      const fields = entryNames.map((name, index) => [name, toDuckDb(entryTypes[index] as DuckDBType)] as const)
      return (value) => {
        const record = value as Record<string, unknown>
        return structValue(Object.fromEntries(fields.map(([name, convert]) => [name, convert(record[name])])))
      }
    }
    default:
      throw new Error(`${type}: no event field is stored in a column of this type`)
  }
}

/** What a column of type JSON holds: an object of an event as text, and a text as it is. */
export const jsonText = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value))

function microsOf(time: string): bigint {
  const millis = Date.parse(time)
  if (Number.isNaN(millis)) throw new Error(`expected an RFC 3339 time, got ${JSON.stringify(time)}`)
  return BigInt(millis) * 1000n
}
