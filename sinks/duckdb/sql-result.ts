import {
  type DuckDBArrayType,
  type DuckDBDecimalType,
  type DuckDBListType,
  type DuckDBMapType,
  type DuckDBStructType,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api'

/**
 * What a query gives back, the same whether the owner's socket or the file answered: typed columns, and rows that
 * arrive in batches. Values are plain JSON; the column's type says how to read them.
 */
export interface SqlResult {
  readonly columns: readonly SqlColumn[]
  /** Iterate once. Ends the query's transaction when it ends, fails or is left early. */
  readonly batches: AsyncIterable<readonly Plain[][]>
  /** Gives up a result whose batches nobody will read. */
  close(): Promise<void>
}

export interface SqlColumn {
  readonly name: string
  readonly type: SqlType
}

/** A DuckDB type, by its SQL name, with what it is made of. */
export interface SqlType {
  readonly name: string
  /** LIST and ARRAY: of what; MAP: the values. */
  readonly item?: SqlType
  readonly length?: number
  readonly fields?: readonly SqlColumn[]
  readonly width?: number
  readonly scale?: number
}

/**
 * A value as JSON. 64-bit and wider integers and decimals are strings of digits, instants are RFC 3339 in UTC with
 * the microseconds that are there, bytes are lower-case hexadecimal, a map is an object, and what JSON has no
 * number for is the string `NaN`, `Infinity` or `-Infinity`; times before and after all others are `-infinity` and
 * `infinity`.
 */
export type Plain = null | boolean | number | string | Plain[] | { [name: string]: Plain }

export function describeType(type: DuckDBType): SqlType {
  switch (type.typeId) {
    case DuckDBTypeId.LIST:
      return { name: 'LIST', item: describeType((type as DuckDBListType).valueType) }
    case DuckDBTypeId.ARRAY: {
      const array = type as DuckDBArrayType
      return { name: 'ARRAY', item: describeType(array.valueType), length: array.length }
    }
    case DuckDBTypeId.MAP:
      return { name: 'MAP', item: describeType((type as DuckDBMapType).valueType) }
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type as DuckDBStructType
      return {
        name: 'STRUCT',
        fields: entryNames.map((name, index) => ({ name, type: describeType(entryTypes[index] as DuckDBType) })),
      }
    }
    case DuckDBTypeId.DECIMAL: {
      const { width, scale } = type as DuckDBDecimalType
      return { name: 'DECIMAL', width, scale }
    }
    default:
      return { name: DuckDBTypeId[type.typeId] ?? 'UNKNOWN' }
  }
}

type ToPlain = (value: DuckDBValue) => Plain

const finite = (value: number): Plain => (Number.isFinite(value) ? value : String(value))
const instant =
  (unitsPerSecond: bigint, units: (value: DuckDBValue) => bigint): ToPlain =>
  (value) =>
    infinity(units(value), INFINITE_INSTANT) ?? isoInstant(units(value), unitsPerSecond)

/** What DuckDB keeps for an instant, or a day, that lies before or after all others. */
const INFINITE_INSTANT = 2n ** 63n - 1n
const INFINITE_DAY = 2 ** 31 - 1

function infinity<N extends number | bigint>(value: N, infinite: N): string | undefined {
  return value === infinite ? 'infinity' : value === -infinite ? '-infinity' : undefined
}

/** `2026-01-31T12:00:00.123Z`: three decimals, or six or nine when the value has them. */
function isoInstant(units: bigint, unitsPerSecond: bigint): string {
  let seconds = units / unitsPerSecond
  let rest = units % unitsPerSecond
  if (rest < 0n) {
    rest += unitsPerSecond
    seconds -= 1n
  }
  const nanos = (rest * 1_000_000_000n) / unitsPerSecond
  const date = new Date(Number(seconds) * 1000)
  if (Number.isNaN(date.getTime())) return `${units}`
  const digits = String(nanos).padStart(9, '0')
  const shown = digits.endsWith('000000') ? digits.slice(0, 3) : digits.endsWith('000') ? digits.slice(0, 6) : digits
  return `${date.toISOString().slice(0, -5)}.${shown}Z`
}

const SCALAR: Partial<Record<string, ToPlain>> = {
  BOOLEAN: (value) => value as boolean,
  FLOAT: (value) => finite(value as number),
  DOUBLE: (value) => finite(value as number),
  VARCHAR: (value) => value as string,
  ENUM: (value) => value as string,
  TIMESTAMP: instant(1_000_000n, (value) => (value as { micros: bigint }).micros),
  TIMESTAMP_TZ: instant(1_000_000n, (value) => (value as { micros: bigint }).micros),
  TIMESTAMP_S: instant(1n, (value) => (value as { seconds: bigint }).seconds),
  TIMESTAMP_MS: instant(1000n, (value) => (value as { millis: bigint }).millis),
  TIMESTAMP_NS: instant(1_000_000_000n, (value) => (value as { nanos: bigint }).nanos),
  DATE: (value) => infinity((value as { days: number }).days, INFINITE_DAY) ?? String(value),
  BLOB: (value) => Buffer.from((value as { bytes: Uint8Array }).bytes).toString('hex'),
}
for (const small of ['TINYINT', 'SMALLINT', 'INTEGER', 'UTINYINT', 'USMALLINT', 'UINTEGER']) {
  SCALAR[small] = (value) => value as number
}

/** Compiles the conversion of one column once, so that a value costs a call and no look-up. */
export function plainConverter(type: SqlType): ToPlain {
  const inner = converterOfPresent(type)
  return (value) => (value === null || value === undefined ? null : inner(value))
}

function converterOfPresent(type: SqlType): ToPlain {
  switch (type.name) {
    case 'LIST':
    case 'ARRAY': {
      const item = plainConverter(type.item as SqlType)
      return (value) => (value as { items: readonly DuckDBValue[] }).items.map(item)
    }
    case 'MAP': {
      const item = plainConverter(type.item as SqlType)
      return (value) =>
        Object.fromEntries(
          (value as { entries: readonly { key: DuckDBValue; value: DuckDBValue }[] }).entries.map((entry) => [
            String(entry.key),
            item(entry.value),
          ]),
        )
    }
    case 'STRUCT': {
      const fields = (type.fields ?? []).map(({ name, type }) => [name, plainConverter(type)] as const)
      return (value) => {
        const entries = (value as { entries: Readonly<Record<string, DuckDBValue>> }).entries
        return Object.fromEntries(fields.map(([name, convert]) => [name, convert(entries[name] ?? null)]))
      }
    }
    default:
      return SCALAR[type.name] ?? ((value) => String(value))
  }
}
