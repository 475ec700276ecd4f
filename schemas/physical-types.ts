import type { DataType } from 'apache-arrow'
import {
  Field as ArrowField,
  Bool,
  Float32,
  Float64,
  Int32,
  Int64,
  List,
  Map_,
  Struct,
  TimestampMillisecond,
  Utf8,
} from 'apache-arrow'
import {
  columnOf,
  flatten,
  readBools,
  readInt64s,
  readLists,
  readMaps,
  readNumbers,
  readTexts,
  writeBools,
  writeInt64s,
  writeTexts,
} from './arrow-columns.ts'
import type { CanonicalBytes } from './canonical-bytes.ts'
import { type Fields, int32, int64, type Logical, type LogicalKind, utf8 } from './logical-types.ts'
import type { JsonObject, PhysicalType } from './physical-type.ts'
import { closedObject, recordType } from './record-type.ts'
import { tensorType } from './tensor-type.ts'
import {
  blobCheck,
  boolCheck,
  float32Check,
  float64Check,
  imageCheck,
  int32Check,
  int64Check,
  listCheck,
  mapCheck,
  oneOfCheck,
  textCheck,
  timestampCheck,
} from './value-checks.ts'

type Of<K extends LogicalKind> = Extract<Logical, { kind: K }>
// biome-ignore lint/suspicious/noExplicitAny: each row has its own value type; the table is looked up by kind.
type PhysicalTypes = { readonly [K in LogicalKind]: PhysicalType<Of<K>, any> }

/** A type that holds no other: JSON's value is the value. */
const scalar = {
  toJson: () => (value: unknown) => value,
  fromJson: () => undefined,
  arrowMetadata: () => undefined,
  offloads: false,
  parts: () => undefined,
  declared: ({ kind }: { kind: LogicalKind }) => ({ kind }),
}
const numbers = { ...scalar, arrowRead: () => readNumbers, blank: () => 0 }
const texts = {
  ...scalar,
  arrow: () => new Utf8(),
  arrowWrite: () => writeTexts,
  arrowRead: () => readTexts,
  blank: () => '',
  duckdb: () => 'VARCHAR',
  pyarrow: () => 'pa.utf8()',
  canonical: () => (bytes: CanonicalBytes, value: string) => bytes.utf8(value),
}

const timeOf = (milliseconds: number) => new Date(milliseconds).toISOString()

/** In the order of their UTF-16 code units, which is how encodings and equality sort them. */
const sortedKeys = (map: object) => Object.keys(map).sort()

const blobFields: Fields = { sha256: utf8(), bytes: int64(), media_type: utf8() }
const pixelFields: Fields = { width: int32(), height: int32(), pixels_sha256: utf8() }
const blobs = recordType<Of<'blob'>>(() => blobFields)
const images = recordType<Of<'image'>>(() => ({ ...blobFields, ...pixelFields }))
/** Two images are equal when their pixels are, whatever the encoder wrote. */
const pixels = recordType<Of<'image'>>(() => pixelFields)
const structs = recordType<Of<'struct'>>(({ fields }) => fields)

const sha256Schema = { type: 'string', pattern: '^[0-9a-f]{64}$' }
const blobSchema = { sha256: sha256Schema, bytes: { type: 'integer', minimum: 0 }, media_type: { type: 'string' } }
const pixelsSchema = {
  width: { type: 'integer', minimum: 1 },
  height: { type: 'integer', minimum: 1 },
  pixels_sha256: sha256Schema,
}

const INT32 = { type: 'integer', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }
const INT53 = { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }

/** THE table: what each logical type is in zod, JSON, Arrow, DuckDB and Python, and to a hash. */
const physicalTypes: PhysicalTypes = {
  bool: {
    ...scalar,
    zod: () => boolCheck,
    jsonSchema: () => ({ type: 'boolean' }),
    arrow: () => new Bool(),
    arrowWrite: () => writeBools,
    arrowRead: () => readBools,
    blank: () => false,
    duckdb: () => 'BOOLEAN',
    pyarrow: () => 'pa.bool_()',
    canonical: () => (bytes, value) => bytes.uint8(value ? 1 : 0),
  },
  int32: {
    ...numbers,
    zod: () => int32Check,
    jsonSchema: () => INT32,
    arrow: () => new Int32(),
    arrowWrite: () => (values) => ({ values: Int32Array.from(values) }),
    duckdb: () => 'INTEGER',
    pyarrow: () => 'pa.int32()',
    canonical: () => (bytes, value) => bytes.int32(value),
  },
  int64: {
    ...numbers,
    zod: () => int64Check,
    jsonSchema: () => INT53,
    arrow: () => new Int64(),
    arrowWrite: () => writeInt64s,
    arrowRead: () => readInt64s,
    duckdb: () => 'BIGINT',
    pyarrow: () => 'pa.int64()',
    canonical: () => (bytes, value) => bytes.int64(value),
  },
  float32: {
    ...numbers,
    zod: () => float32Check,
    jsonSchema: () => ({ type: 'number' }),
    arrow: () => new Float32(),
    arrowWrite: () => (values) => ({ values: Float32Array.from(values) }),
    duckdb: () => 'FLOAT',
    pyarrow: () => 'pa.float32()',
    canonical: () => (bytes, value) => bytes.float32(value),
  },
  float64: {
    ...numbers,
    zod: () => float64Check,
    jsonSchema: () => ({ type: 'number' }),
    arrow: () => new Float64(),
    arrowWrite: () => (values) => ({ values: Float64Array.from(values) }),
    duckdb: () => 'DOUBLE',
    pyarrow: () => 'pa.float64()',
    canonical: () => (bytes, value) => bytes.float64(value),
  },
  utf8: {
    ...texts,
    zod: () => textCheck,
    jsonSchema: () => ({ type: 'string' }),
  },
  one_of: {
    ...texts,
    zod: ({ values }) => oneOfCheck(values),
    jsonSchema: ({ values }) => ({ type: 'string', enum: values }),
    declared: ({ values }) => ({ kind: 'one_of', values: [...values].sort() }),
  },
  timestamp: {
    ...scalar,
    zod: () => timestampCheck,
    jsonSchema: () => ({ type: 'string', format: 'date-time' }),
    arrow: () => new TimestampMillisecond('UTC'),
    arrowWrite: () => (values) => writeInt64s(values.map((time) => Date.parse(time))),
    arrowRead: () => (data) => readInt64s(data).map(timeOf),
    blank: () => timeOf(0),
    // DuckDB's ICU is linked into @duckdb/node-api: nothing is downloaded for a time zone.
    duckdb: () => 'TIMESTAMPTZ',
    pyarrow: () => "pa.timestamp('ms', tz='UTC')",
    canonical: () => (bytes, value) => bytes.int64(Date.parse(value)),
  },
  blob: {
    ...blobs,
    zod: () => blobCheck,
    jsonSchema: () => closedObject(blobSchema),
    declared: () => ({ kind: 'blob' }),
  },
  image: {
    ...images,
    zod: () => imageCheck,
    jsonSchema: () => closedObject({ ...blobSchema, ...pixelsSchema }),
    canonical: pixels.canonical,
    parts: pixels.parts,
    declared: () => ({ kind: 'image' }),
  },
  list: {
    zod: ({ item }, of) => listCheck(of(item)),
    jsonSchema: ({ item }, of) => ({ type: 'array', items: of(item) }),
    toJson: ({ item }, of) => {
      const toJson = of(item)
      return (items: unknown[]) => items.map(toJson)
    },
    fromJson: ({ item }, of) => {
      const fromJson = of(item)
      return fromJson && ((json) => (Array.isArray(json) ? json.map(fromJson) : json))
    },
    arrow: ({ item }, of) => new List(of('item', item)),
    arrowMetadata: () => undefined,
    arrowWrite: ({ item }, of) => {
      const write = of(item)
      return (lists: readonly unknown[][]) => {
        const { offsets, items } = flatten(lists)
        return { offsets, children: [write(items)] }
      }
    },
    arrowRead: ({ item }, of) => {
      const read = of(item)
      return (data) => readLists(data, read)
    },
    blank: () => [],
    offloads: true,
    duckdb: ({ item }, of) => `${of(item)}[]`,
    pyarrow: ({ item }, of) => `pa.list_(${of('item', item)})`,
    canonical: ({ item }, of) => {
      const write = of(item)
      return (bytes, items: unknown[]) => {
        bytes.uint32(items.length)
        for (const value of items) write(bytes, value)
      }
    },
    parts: ({ item }, items: unknown[]) => items.map((value, at) => ({ segment: `[${at}]`, field: item, value })),
    declared: ({ item }, of) => ({ kind: 'list', item: of(item) }),
  },
  map: {
    zod: ({ value }, of) => mapCheck(of(value)),
    jsonSchema: ({ value }, of) => ({ type: 'object', additionalProperties: of(value) }),
    toJson: ({ value }, of) => {
      const toJson = of(value)
      return (map: JsonObject) => Object.fromEntries(sortedKeys(map).map((key) => [key, toJson(map[key])]))
    },
    fromJson: ({ value }, of) => {
      const fromJson = of(value)
      return (
        fromJson &&
        ((json) =>
          typeof json === 'object' && json !== null && !Array.isArray(json)
            ? Object.fromEntries(Object.entries(json).map(([key, inner]) => [key, fromJson(inner)]))
            : json)
      )
    },
    arrow: ({ value }, of) => {
      const entries = new Struct<{ key: Utf8; value: DataType }>([
        new ArrowField('key', new Utf8(), false),
        of('value', value),
      ])
      return new Map_(new ArrowField('entries', entries, false), true)
    },
    arrowMetadata: () => undefined,
    arrowWrite: ({ value }, of, type) => {
      const write = of(value)
      const entriesType = type.children[0]?.type as Struct
      const keysType = entriesType.children[0]?.type as Utf8
      return (maps: readonly JsonObject[]) => {
        const { offsets, items: keys } = flatten(maps.map(sortedKeys))
        const values = maps.flatMap((map) => sortedKeys(map).map((key) => map[key]))
        const children = [columnOf(keysType, keys.length, writeTexts(keys as string[])), write(values)]
        return { offsets, children: [columnOf(entriesType, keys.length, { children })] }
      }
    },
    arrowRead: ({ value }, of) => {
      const read = of(value)
      return (data) => readMaps(data, readTexts, read)
    },
    blank: () => ({}),
    offloads: false,
    duckdb: ({ value }, of) => `MAP(VARCHAR, ${of(value)})`,
    pyarrow: ({ value }, of) => `pa.map_(pa.utf8(), ${of('value', value)}, keys_sorted=True)`,
    canonical: ({ value }, of) => {
      const write = of(value)
      return (bytes, map: JsonObject) => {
        const keys = sortedKeys(map)
        bytes.uint32(keys.length)
        for (const key of keys) {
          bytes.utf8(key)
          write(bytes, map[key])
        }
      }
    },
    parts: ({ value: field }, map: JsonObject) =>
      sortedKeys(map).map((key) => ({ segment: `.${key}`, field, value: map[key] })),
    declared: ({ value }, of) => ({ kind: 'map', value: of(value) }),
  },
  struct: {
    ...structs,
    declared: ({ fields }, of) => ({
      kind: 'struct',
      fields: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, of(field)])),
    }),
  },
  tensor: tensorType,
}

/** The row of a logical type. Shared code asks the row and never branches on the kind. */
export function physical(logical: Logical): PhysicalType<Logical> {
  return physicalTypes[logical.kind] as unknown as PhysicalType<Logical>
}
