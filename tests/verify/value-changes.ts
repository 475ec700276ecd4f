import {
  type DuckDBArrayType,
  type DuckDBListType,
  type DuckDBMapType,
  type DuckDBStructType,
  type DuckDBType,
  DuckDBTypeId,
} from '@duckdb/node-api'
import { literal, quoted } from '../../schemas/derive/sql-quoting.ts'

/** The smallest changes of a value, as SQL: at least one for each part of a nested value. Null becomes a value. */
export function changesOf(type: DuckDBType, value: string): string[] {
  return changesOfPresent(type, value).map(
    (changed) => `CASE WHEN ${value} IS NULL THEN ${some(type)} ELSE ${changed} END`,
  )
}

function changesOfPresent(type: DuckDBType, value: string): string[] {
  switch (type.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return [`NOT ${value}`]
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.BIGINT:
      return [`${value} + 1`]
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return [`nextafter(${value}, 'Infinity'::${type})`]
    case DuckDBTypeId.VARCHAR:
      return [`${value} || ' '`]
    case DuckDBTypeId.TIMESTAMP_TZ:
      return [`${value} + INTERVAL 1 MICROSECOND`]
    case DuckDBTypeId.LIST: {
      const { valueType } = type as DuckDBListType
      const last = changesOf(valueType, `${value}[-1]`).map((changed) => `${value}[:-2] || [${changed}]`)
      return [`${value} || [NULL::${valueType}]`, `${value}[:-2]`, ...last].map((changed) =>
        changed.includes(':-2') ? `CASE WHEN len(${value}) = 0 THEN [NULL::${valueType}] ELSE ${changed} END` : changed,
      )
    }
    case DuckDBTypeId.ARRAY: {
      const { length, valueType } = type as DuckDBArrayType
      const items = Array.from({ length }, (_, at) => `${value}[${at + 1}]`)
      return changesOf(valueType, items[0] as string).map((first) => `array_value(${[first, ...items.slice(1)]})`)
    }
    case DuckDBTypeId.MAP: {
      const { keyType, valueType } = type as DuckDBMapType
      return [`map_concat(${value}, MAP {'another'::${keyType}: NULL::${valueType}})`]
    }
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type as DuckDBStructType
      return entryNames.flatMap((name, at) =>
        changesOf(entryTypes[at] as DuckDBType, `${value}.${quoted(name)}`).map(
          (changed) => `struct_update(${value}, ${quoted(name)} := ${changed})`,
        ),
      )
    }
    default:
      throw new Error(`${type}: say how a value of it is changed`)
  }
}

/** A value of a type: an empty list or map, or a structure of nulls. */
function some(type: DuckDBType): string {
  switch (type.typeId) {
    case DuckDBTypeId.VARCHAR:
      return `''`
    case DuckDBTypeId.TIMESTAMP_TZ:
      return `'2000-01-01'::${type}`
    case DuckDBTypeId.LIST:
      return `[]::${type}`
    case DuckDBTypeId.MAP:
      return `MAP {}::${type}`
    case DuckDBTypeId.STRUCT:
      return `{${(type as DuckDBStructType).entryNames.map((name) => `${literal(name)}: NULL`).join(', ')}}::${type}`
    default:
      return `0::${type}`
  }
}
