import { Struct } from 'apache-arrow'
import type { Field, Fields } from '../declare/logical-types.ts'
import type { ColumnBody } from './arrow-columns.ts'
import type { Json, JsonObject, PhysicalType } from './physical-type.ts'
import { rowMaker } from './row-maker.ts'
import { recordCheck } from './value-checks.ts'

type Row = Record<string, unknown>
type RecordType<L> = Omit<PhysicalType<L, Row>, 'declared' | 'unbounded' | 'bounds'>

/** An object of named fields, for any logical type: a struct's own fields, or those of a blob reference. */
export function recordType<L>(fieldsOf: (logical: L) => Fields): RecordType<L> {
  const each = <T>(logical: L, make: (field: Field, name: string) => T): [string, T][] =>
    Object.entries(fieldsOf(logical)).map(([name, field]) => [name, make(field, name)])
  /** Sorted by name, so that equality does not depend on the declared order. */
  const sorted = <T>(logical: L, make: (field: Field, name: string) => T) =>
    each(logical, make).sort(([a], [b]) => (a < b ? -1 : 1))

  return {
    zod: (logical, of) => recordCheck(Object.fromEntries(each(logical, of))),
    jsonSchema: (logical, of) => closedObject(Object.fromEntries(each(logical, of))),
    toJson: (logical, of) => {
      const fields = each(logical, of)
      return (row) => {
        const out: Row = {}
        for (const [name, toJson] of fields) out[name] = toJson(row[name])
        return out
      }
    },
    fromJson: (logical, of) => {
      const changed = each(logical, of).flatMap(([name, fromJson]) => (fromJson ? [[name, fromJson] as const] : []))
      if (changed.length === 0) return undefined
      return (json) => {
        if (typeof json !== 'object' || json === null || Array.isArray(json)) return json
        const row: Row = { ...json }
        for (const [name, fromJson] of changed) if (Object.hasOwn(row, name)) row[name] = fromJson(row[name])
        return row
      }
    },
    arrow: (logical, of) => new Struct(each(logical, (field, name) => of(name, field)).map(([, field]) => field)),
    arrowMetadata: () => undefined,
    arrowWrite: (logical, of) => {
      const columns = each(logical, of)
      return (rows): ColumnBody => ({ children: columns.map(([name, write]) => write(rows.map((row) => row[name]))) })
    },
    arrowRead: (logical, of) => {
      const columns = each(logical, of)
      const makeRows = rowMaker(columns.map(([name]) => name))
      return (data) => {
        const values = columns.map(([, read], at) => {
          const child = data.children[at]
          return child === undefined ? [] : read(child)
        })
        return makeRows(values, data.length)
      }
    },
    blank: (logical, of) => Object.fromEntries(each(logical, of)),
    offloads: false,
    by_reference: false,
    duckdb: (logical, of) =>
      `STRUCT(${each(logical, (field, name) => `"${name}" ${of(field)}`)
        .map(([, text]) => text)
        .join(', ')})`,
    pyarrow: (logical, of) =>
      `pa.struct([${each(logical, (field, name) => of(name, field))
        .map(([, text]) => text)
        .join(', ')}])`,
    canonical: (logical, of) => {
      const fields = sorted(logical, of)
      return (bytes, row) => {
        for (const [name, write] of fields) write(bytes, row[name])
      }
    },
    parts: (logical, row) =>
      each(logical, (field, name) => ({ segment: `.${name}`, field, value: row[name] })).map(([, part]) => part),
  }
}

export function closedObject(properties: { readonly [name: string]: Json }): JsonObject {
  return { type: 'object', properties, required: Object.keys(properties), additionalProperties: false }
}
