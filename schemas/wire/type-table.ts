import { Bool, Float32, Float64, Int32, Int64, TimestampMillisecond, Utf8 } from 'apache-arrow'
import {
  type Fields,
  int32,
  int64,
  type Logical,
  type LogicalKind,
  type Range,
  utf8,
} from '../declare/logical-types.ts'
import { readBools, readInt64s, readNumbers, readTexts, writeBools, writeInt64s, writeTexts } from './arrow-columns.ts'
import { lengthText, maximumOf, rangeKeywords, rangeText, within } from './bounds.ts'
import type { CanonicalBytes } from './canonical-bytes.ts'
import { declaredType } from './declared-type.ts'
import { listType } from './list-type.ts'
import { mapType } from './map-type.ts'
import type { PhysicalType } from './physical-type.ts'
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
  oneOfCheck,
  textCheck,
  timestampCheck,
} from './value-checks.ts'

type Of<K extends LogicalKind> = Extract<Logical, { kind: K }>
// biome-ignore lint/suspicious/noExplicitAny: each row has its own value type; the table is looked up by kind.
type PhysicalTypes = { readonly [K in LogicalKind]: PhysicalType<Of<K>, any> }

/** A type without inner fields; the JSON value is the value itself. */
const scalar = {
  toJson: () => (value: unknown) => value,
  fromJson: () => undefined,
  arrowMetadata: () => undefined,
  offloads: false,
  by_reference: false,
  parts: () => undefined,
  unbounded: ({ kind }: { kind: LogicalKind }) => ({ kind }) as Logical,
  bounds: () => undefined,
  declared: ({ kind }: { kind: LogicalKind }) => ({ kind }),
}
const numbers = { ...scalar, arrowRead: () => readNumbers, blank: () => 0, bounds: (range: Range) => rangeText(range) }
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

const blobFields: Fields = { sha256: utf8(), bytes: int64(), media_type: utf8() }
const pixelFields: Fields = { width: int32(), height: int32(), pixels_sha256: utf8() }
const blobs = recordType<Of<'blob'>>(() => blobFields)
const images = recordType<Of<'image'>>(() => ({ ...blobFields, ...pixelFields }))
/** Two images look alike when size and pixel hash are equal, however they are encoded. */
const pixels = recordType<Of<'image'>>(() => pixelFields)
const structs = recordType<Of<'struct'>>(({ fields }) => fields)

const sha256Schema = { type: 'string', pattern: '^[0-9a-f]{64}$' }
const blobSchema = { sha256: sha256Schema, bytes: { type: 'integer', minimum: 0 }, media_type: { type: 'string' } }
const pixelsSchema = (max_side: number | undefined) => {
  const side = { type: 'integer', minimum: 1, ...maximumOf('maximum', max_side) }
  return { width: side, height: side, pixels_sha256: sha256Schema }
}

const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 }
const INT53 = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }
const integerSchema = (all: Required<Range>) => (range: Range) => ({
  type: 'integer',
  ...rangeKeywords(within(all, range)),
})
const floatSchema = (range: Range) => ({ type: 'number', ...rangeKeywords(range) })

/** The one table of logical types: each in zod, JSON, Arrow, DuckDB and Python, and in a canonical hash. */
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
    zod: int32Check,
    jsonSchema: integerSchema(INT32),
    arrow: () => new Int32(),
    arrowWrite: () => (values) => ({ values: Int32Array.from(values) }),
    duckdb: () => 'INTEGER',
    pyarrow: () => 'pa.int32()',
    canonical: () => (bytes, value) => bytes.int32(value),
  },
  int64: {
    ...numbers,
    zod: int64Check,
    jsonSchema: integerSchema(INT53),
    arrow: () => new Int64(),
    arrowWrite: () => writeInt64s,
    arrowRead: () => readInt64s,
    duckdb: () => 'BIGINT',
    pyarrow: () => 'pa.int64()',
    canonical: () => (bytes, value) => bytes.int64(value),
  },
  float32: {
    ...numbers,
    zod: float32Check,
    jsonSchema: floatSchema,
    arrow: () => new Float32(),
    arrowWrite: () => (values) => ({ values: Float32Array.from(values) }),
    duckdb: () => 'FLOAT',
    pyarrow: () => 'pa.float32()',
    canonical: () => (bytes, value) => bytes.float32(value),
  },
  float64: {
    ...numbers,
    zod: float64Check,
    jsonSchema: floatSchema,
    arrow: () => new Float64(),
    arrowWrite: () => (values) => ({ values: Float64Array.from(values) }),
    duckdb: () => 'DOUBLE',
    pyarrow: () => 'pa.float64()',
    canonical: () => (bytes, value) => bytes.float64(value),
  },
  utf8: {
    ...texts,
    zod: textCheck,
    jsonSchema: ({ max_length }) => ({ type: 'string', ...maximumOf('maxLength', max_length) }),
    bounds: (length) => lengthText(length, 'characters'),
  },
  one_of: {
    ...texts,
    zod: ({ values }) => oneOfCheck(values),
    jsonSchema: ({ values }) => ({ type: 'string', enum: values }),
    unbounded: (choice) => choice,
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
    // @duckdb/node-api is linked with DuckDB's ICU extension, so time zones need no download.
    duckdb: () => 'TIMESTAMPTZ',
    pyarrow: () => "pa.timestamp('ms', tz='UTC')",
    canonical: () => (bytes, value) => bytes.int64(Date.parse(value)),
  },
  blob: {
    ...blobs,
    zod: () => blobCheck,
    jsonSchema: () => closedObject(blobSchema),
    unbounded: (reference) => reference,
    bounds: () => undefined,
    declared: () => ({ kind: 'blob' }),
  },
  image: {
    ...images,
    zod: imageCheck,
    jsonSchema: ({ max_side }) => closedObject({ ...blobSchema, ...pixelsSchema(max_side) }),
    alike: pixels.canonical,
    unbounded: () => ({ kind: 'image' }),
    bounds: ({ max_side }) => (max_side === undefined ? undefined : `at most ${max_side}×${max_side} px`),
    declared: () => ({ kind: 'image' }),
  },
  list: listType,
  map: mapType,
  struct: {
    ...structs,
    unbounded: ({ fields }, of) => ({
      kind: 'struct',
      fields: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, of(field)])),
    }),
    bounds: ({ fields }, of) => {
      const bounded = Object.entries(fields).flatMap(([name, field]) => {
        const text = of(field)
        return text === undefined ? [] : [`${name}: ${text}`]
      })
      return bounded.length === 0 ? undefined : bounded.join('; ')
    },
    declared: ({ fields }, of) => ({
      kind: 'struct',
      fields: Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, of(field)])),
    }),
  },
  tensor: tensorType,
  declared: declaredType,
}

/** The row of a logical type. Shared code uses the row and never branches on the kind. */
export function physical(logical: Logical): PhysicalType<Logical> {
  return physicalTypes[logical.kind] as unknown as PhysicalType<Logical>
}
