import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  Decimal,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
  Map_,
  Schema,
  Struct,
  TimestampMicrosecond,
  TimestampNanosecond,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
  Utf8,
} from 'apache-arrow'
import { isUnnamed, type SqlColumn, type SqlType } from './sql-result.ts'

/**
 * The Arrow type of each DuckDB type. Where Arrow has no type that holds every value and that all readers treat alike,
 * a column is text: times of day (DuckDB has 24:00), intervals, UUID, bit strings, enumerations, integers of any
 * length. A union is a struct of its members and the name of the one that is set, since few readers support Arrow's own
 * unions.
 */
const SCALARS: Readonly<Record<string, DataType>> = {
  BOOLEAN: new Bool(),
  TINYINT: new Int8(),
  SMALLINT: new Int16(),
  INTEGER: new Int32(),
  BIGINT: new Int64(),
  UTINYINT: new Uint8(),
  USMALLINT: new Uint16(),
  UINTEGER: new Uint32(),
  UBIGINT: new Uint64(),
  FLOAT: new Float32(),
  DOUBLE: new Float64(),
  DATE: new DateDay(),
  TIMESTAMP: new TimestampMicrosecond(),
  TIMESTAMP_S: new TimestampMicrosecond(),
  TIMESTAMP_MS: new TimestampMicrosecond(),
  TIMESTAMP_NS: new TimestampNanosecond(),
  TIMESTAMP_TZ: new TimestampMicrosecond('UTC'),
  VARCHAR: new Utf8(),
  BLOB: new Binary(),
  GEOMETRY: new Binary(),
}
const TEXT = new Utf8()

/**
 * How 128-bit integers are written: as text, or as `decimal128(38, 0)` like DuckDB's own export, which cannot hold the
 * largest ones.
 */
export type WideIntegers = 'decimal' | 'text'

export function arrowType(type: SqlType, wide: WideIntegers): DataType {
  switch (type.name) {
    case 'HUGEINT':
    case 'UHUGEINT':
      return wide === 'text' ? TEXT : new Decimal(0, 38, 128)
    case 'DECIMAL':
      return new Decimal(type.scale ?? 0, type.width ?? 38, 128)
    case 'LIST':
      return new List(itemField(type, wide))
    case 'ARRAY':
      return new FixedSizeList(type.length ?? 0, itemField(type, wide))
    case 'MAP': {
      const entry = new Struct([
        new Field('key', arrowType(type.key as SqlType, wide), false),
        new Field('value', arrowType(type.item as SqlType, wide), true),
      ])
      return new Map_(new Field('entries', entry, false) as never)
    }
    case 'STRUCT':
      return new Struct(fieldsOf(type).map((field) => new Field(field.name, arrowType(field.type, wide), true)))
    case 'UNION':
      return new Struct([
        new Field(tagName(type), TEXT, true),
        ...fieldsOf(type).map((field) => new Field(field.name, arrowType(field.type, wide), true)),
      ])
    default:
      return SCALARS[type.name] ?? TEXT
  }
}

const itemField = (type: SqlType, wide: WideIntegers) => new Field('item', arrowType(type.item as SqlType, wide), true)

/** Arrow's readers need distinct names: unnamed fields are named by position, as in `s[1]`. */
export function fieldsOf(type: SqlType): readonly SqlColumn[] {
  const fields = type.fields ?? []
  return isUnnamed(type) ? fields.map((field, at) => ({ ...field, name: String(at + 1) })) : fields
}

/** The field with the name of the member that is set; it must not be called like a member. */
function tagName({ fields = [] }: SqlType): string {
  let name = 'tag'
  while (fields.some((field) => field.name === name)) name = `_${name}`
  return name
}

export const arrowSchema = (columns: readonly SqlColumn[], wide: WideIntegers): Schema =>
  new Schema(columns.map(({ name, type }) => new Field(name, arrowType(type, wide), true)))
