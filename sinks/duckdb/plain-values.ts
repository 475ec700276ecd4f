import { jsonText } from './duckdb-values.ts'
import type { Plain, SqlType } from './sql-result.ts'

/** Whether a value in an answer, as DuckDB returns it, equals an event's value, as a processor sees it. */
export function isSameValue(type: SqlType, plain: Plain | undefined, value: unknown): boolean {
  if (plain === null || plain === undefined || value === null || value === undefined)
    return (plain ?? null) === null && (value ?? null) === null
  switch (type.name) {
    case 'BIGINT':
      return plain === String(value)
    case 'FLOAT':
    case 'DOUBLE':
      // −0 and 0 are equal, as they are in `verify`.
      return Number(plain) === value || (Number.isNaN(value) && plain === 'NaN')
    case 'TIMESTAMP_TZ':
      return typeof plain === 'string' && typeof value === 'string' && plain === new Date(value).toISOString()
    case 'LIST':
    case 'ARRAY':
      return isSameList(type.item as SqlType, plain, value)
    case 'MAP':
      return isSameMap(type.item as SqlType, plain, value)
    case 'STRUCT':
      return (type.fields ?? []).every((field) =>
        isSameValue(field.type, (plain as { [name: string]: Plain })[field.name], (value as Row)[field.name]),
      )
    case 'VARCHAR':
      return plain === jsonText(value)
    default:
      return plain === value
  }
}

type Row = Readonly<Record<string, unknown>>

function isSameList(item: SqlType, plain: Plain, value: unknown): boolean {
  const values = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as readonly unknown[]) : undefined
  if (values === undefined || !Array.isArray(plain) || plain.length !== values.length) return false
  return plain.every((each, at) => isSameValue(item, each, values[at]))
}

function isSameMap(item: SqlType, plain: Plain, value: unknown): boolean {
  const entries = Object.entries(value as Row)
  if (!Array.isArray(plain) || plain.length !== entries.length) return false
  const found = new Map(plain as [string, Plain][])
  return entries.every(([key, inner]) => found.has(key) && isSameValue(item, found.get(key), inner))
}
