import {
  type DuckDBArrayType,
  type DuckDBDataChunk,
  type DuckDBDecimalType,
  type DuckDBListType,
  type DuckDBMapType,
  type DuckDBStructType,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBUnionType,
} from '@duckdb/node-api'
import duckdb from '@duckdb/node-bindings'
import { Data, type DataType, RecordBatch, RecordBatchStreamWriter, type Schema, Struct } from 'apache-arrow'
import { Budget, TooLargeError } from './sql-arrow-budget.ts'
import { TooWideError } from './sql-arrow-buffers.ts'
import { type Opened, opened } from './sql-arrow-opened.ts'
import { arrowSchema, type WideIntegers } from './sql-arrow-types.ts'
import { arrowData } from './sql-arrow-vectors.ts'
import { SqlFailedError, SqlRefusedError } from './sql-errors.ts'
import type { SqlColumn, SqlType } from './sql-result.ts'

/** Largest batch of an answer; a larger row gets a batch of its own. */
const BATCH_BYTES = 4 * 2 ** 20
const LARGEST_ROW_BYTES = 64 * 2 ** 20
/**
 * DuckDB returns up to 2,048 rows at once, and its client copies them. Texts of more than 12 bytes are stored
 * elsewhere.
 */
const LARGEST_CHUNK_BYTES = 256 * 2 ** 20

export interface TypedColumn {
  readonly name: string
  readonly type: DuckDBType
}

/**
 * The chunks of an answer as one Arrow IPC stream. DuckDB for Node can neither export nor import Arrow, so its vectors
 * are copied here. The size of a batch is checked before it is built, and only lists that are sent are expanded.
 *
 * @throws SqlFailedError when a row is larger than 64 MiB or a chunk than 256 MiB, or an integer is too wide.
 */
export async function* arrowChunks(
  columns: readonly TypedColumn[],
  chunks: AsyncIterable<DuckDBDataChunk>,
): AsyncGenerator<Uint8Array> {
  let writer: StreamWriter | undefined
  for await (const chunk of chunks) {
    writer ??= writerFor(columns, chunk)
    if (writer.isNew) yield writer.head()
    try {
      yield* writer.batches(chunk)
    } catch (cause) {
      throw cause instanceof TooWideError ? tooLate(cause) : cause
    }
  }
  writer ??= new StreamWriter(columns, 'decimal')
  if (writer.isNew) yield writer.head()
  yield writer.end()
}

const tooLate = (cause: TooWideError) =>
  new SqlFailedError('an integer of more than 38 digits comes after the first rows; cast the column: value::varchar', {
    cause,
  })

/** The first rows decide how 128-bit integers are written. */
function writerFor(columns: readonly TypedColumn[], first: DuckDBDataChunk): StreamWriter {
  const wide = columns.some(({ type }) => holdsWideIntegers(type))
  if (!wide) return new StreamWriter(columns, 'decimal')
  try {
    for (const _ of new StreamWriter(columns, 'decimal').batches(first));
    return new StreamWriter(columns, 'decimal')
  } catch (cause) {
    return new StreamWriter(columns, cause instanceof TooWideError ? 'text' : 'decimal')
  }
}

function holdsWideIntegers(type: DuckDBType): boolean {
  if (type.typeId === DuckDBTypeId.HUGEINT || type.typeId === DuckDBTypeId.UHUGEINT) return true
  return partsOf(type).some(holdsWideIntegers)
}

function partsOf(type: DuckDBType): readonly DuckDBType[] {
  switch (type.typeId) {
    case DuckDBTypeId.LIST:
    case DuckDBTypeId.ARRAY:
      return [(type as DuckDBListType | DuckDBArrayType).valueType]
    case DuckDBTypeId.MAP:
      return [(type as DuckDBMapType).keyType, (type as DuckDBMapType).valueType]
    case DuckDBTypeId.STRUCT:
      return (type as DuckDBStructType).entryTypes
    case DuckDBTypeId.UNION:
      return (type as DuckDBUnionType).memberTypes
    default:
      return []
  }
}

/** Continuation marker and a length of 0. */
const END_MARKER_BYTES = 8

class StreamWriter {
  isNew = true
  readonly #columns: readonly TypedColumn[]
  readonly #schema: Schema
  readonly #empty: Uint8Array
  /** How many rows the next batch tries. */
  #rows = Number.POSITIVE_INFINITY

  constructor(columns: readonly TypedColumn[], wide: WideIntegers) {
    this.#columns = columns
    this.#schema = arrowSchema(columns.map(sqlColumn), wide)
    this.#empty = streamOf(this.#schema, [])
  }

  head(): Uint8Array {
    this.isNew = false
    return this.#empty.subarray(0, this.#empty.length - END_MARKER_BYTES)
  }

  end(): Uint8Array {
    return this.#empty.subarray(this.#empty.length - END_MARKER_BYTES)
  }

  *batches(chunk: DuckDBDataChunk): Generator<Uint8Array> {
    const total = chunk.rowCount
    const vectors = this.#open(chunk, total)
    for (let from = 0; from < total; ) {
      const rows = Math.min(this.#rows, total - from)
      try {
        const bytes = this.#batch(vectors, from, rows, rows === 1 ? LARGEST_ROW_BYTES : BATCH_BYTES)
        from += rows
        this.#rows *= 2
        yield bytes
      } catch (cause) {
        if (!(cause instanceof TooLargeError)) throw cause
        if (rows === 1) throw tooLarge('a row', LARGEST_ROW_BYTES)
        this.#rows = Math.ceil(rows / 2)
      }
    }
  }

  #open(chunk: DuckDBDataChunk, total: number): Opened[] {
    const budget = new Budget(LARGEST_CHUNK_BYTES)
    try {
      return this.#columns.map(({ type }, at) =>
        opened(type, duckdb.data_chunk_get_vector(chunk.chunk, at), total, budget),
      )
    } catch (cause) {
      throw cause instanceof TooLargeError
        ? tooLarge(`${total} rows that DuckDB gives at once`, LARGEST_CHUNK_BYTES)
        : cause
    }
  }

  #batch(vectors: readonly Opened[], from: number, count: number, most: number): Uint8Array {
    const budget = new Budget(most)
    const rows = { ranges: [from, count], count }
    const children = vectors.map((vector, at) =>
      arrowData(this.#schema.fields[at]?.type as DataType, { vector, rows, budget }),
    )
    const data = new Data(new Struct(this.#schema.fields), 0, count, 0, undefined, children)
    const stream = streamOf(this.#schema, [new RecordBatch(this.#schema, data)])
    return stream.subarray(this.#empty.length - END_MARKER_BYTES, stream.length - END_MARKER_BYTES)
  }
}

const tooLarge = (what: string, bytes: number) =>
  new SqlFailedError(
    `${what}: larger than ${bytes / 2 ** 20} MiB, which is the most that an answer may have there; ask for less of it (unnest long lists, cut long texts), or export the table`,
  )

function streamOf(schema: Schema, batches: readonly RecordBatch[]): Uint8Array {
  const writer = new RecordBatchStreamWriter()
  writer.reset(undefined, schema)
  for (const batch of batches) writer.write(batch)
  writer.finish()
  return writer.toUint8Array(true)
}

export const sqlColumn = ({ name, type }: TypedColumn): SqlColumn => ({ name, type: describeType(type) })

/**
 * @throws SqlRefusedError for a type whose values DuckDB's client cannot read.
 */
function describeType(type: DuckDBType): SqlType {
  const name = DuckDBTypeId[type.typeId]
  switch (type.typeId) {
    case DuckDBTypeId.LIST:
      return { name: 'LIST', item: describeType((type as DuckDBListType).valueType) }
    case DuckDBTypeId.ARRAY: {
      const { valueType, length } = type as DuckDBArrayType
      return { name: 'ARRAY', item: describeType(valueType), length }
    }
    case DuckDBTypeId.MAP: {
      const { keyType, valueType } = type as DuckDBMapType
      return { name: 'MAP', key: describeType(keyType), item: describeType(valueType) }
    }
    case DuckDBTypeId.STRUCT: {
      const { entryNames, entryTypes } = type as DuckDBStructType
      return { name: 'STRUCT', fields: fieldsOf(entryNames, entryTypes) }
    }
    case DuckDBTypeId.UNION: {
      const { memberTags, memberTypes } = type as DuckDBUnionType
      return { name: 'UNION', fields: fieldsOf(memberTags, memberTypes) }
    }
    case DuckDBTypeId.DECIMAL: {
      const { width, scale } = type as DuckDBDecimalType
      return { name: 'DECIMAL', width, scale }
    }
    case DuckDBTypeId.VARIANT:
    case DuckDBTypeId.ANY:
      throw new SqlRefusedError(
        `the answer has values of the type ${name}, which no client can read; cast them: value::varchar`,
      )
    default:
      return { name: name ?? 'UNKNOWN' }
  }
}

const fieldsOf = (names: readonly string[], types: readonly DuckDBType[]): SqlColumn[] =>
  names.map((name, at) => ({ name, type: describeType(types[at] as DuckDBType) }))
