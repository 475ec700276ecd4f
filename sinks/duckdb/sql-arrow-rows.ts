import { type Data, RecordBatchReader } from 'apache-arrow'
import { civilDate, isoInstant } from './sql-instants.ts'
import { type ArrowResult, isUnnamed, type Plain, type SqlResult, type SqlType } from './sql-result.ts'

/** The rows of an Arrow answer as plain JSON, by the DuckDB types of its columns. */
export function withRows({ columns, chunks, close }: ArrowResult): SqlResult {
  async function* batches(): AsyncGenerator<Plain[][]> {
    try {
      for await (const batch of await RecordBatchReader.from(chunks)) {
        if (batch.numRows === 0) continue // an empty stream gives a batch without column data
        const readers = columns.map(({ type }, at) => plainReader(type, batch.data.children[at] as Data))
        yield Array.from({ length: batch.numRows }, (_, row) => readers.map((read) => read(row)))
      }
    } finally {
      await close() // the reader does not close `chunks` if it is left early
    }
  }
  return { columns, chunks, batches: batches(), close }
}

type Read = (row: number) => Plain

/** Compiled once per column and batch, so that a value costs one call and no look-up. */
function plainReader(type: SqlType, data: Data): Read {
  const read = readerOfPresent(type, data)
  if (data.nullCount === 0) return read
  const { nullBitmap } = data
  return (row) => ((nullBitmap[row >> 3] as number) & (1 << (row & 7)) ? read(row) : null)
}

function readerOfPresent(type: SqlType, data: Data): Read {
  const { values, valueOffsets, children } = data
  const item = (at: number, of: SqlType) => plainReader(of, children[at] as Data)
  switch (type.name) {
    case 'BOOLEAN':
      return (row) => (values[row >> 3] & (1 << (row & 7))) !== 0
    case 'TINYINT':
    case 'SMALLINT':
    case 'INTEGER':
    case 'UTINYINT':
    case 'USMALLINT':
    case 'UINTEGER':
      return (row) => values[row] as number
    case 'BIGINT':
    case 'UBIGINT':
      return (row) => String(values[row])
    case 'FLOAT':
    case 'DOUBLE':
      return (row) => (Number.isFinite(values[row]) ? (values[row] as number) : String(values[row]))
    case 'HUGEINT':
    case 'UHUGEINT':
      return valueOffsets === undefined ? decimal(values, 0) : text(data)
    case 'DECIMAL':
      return decimal(values, type.scale ?? 0)
    case 'DATE':
      return (row) => infinity(values[row] as number, INFINITE_DAY) ?? civilDate(values[row] as number)
    case 'TIMESTAMP':
    case 'TIMESTAMP_S':
    case 'TIMESTAMP_MS':
    case 'TIMESTAMP_TZ':
      return (row) => infinity(values[row] as bigint, INFINITE_INSTANT) ?? isoInstant(values[row] as bigint, 1_000_000n)
    case 'TIMESTAMP_NS':
      return (row) =>
        infinity(values[row] as bigint, INFINITE_INSTANT) ?? isoInstant(values[row] as bigint, 1_000_000_000n)
    case 'BLOB':
    case 'GEOMETRY': {
      const bytes = bytesIn(data)
      return (row) => bytes(row).toString('hex')
    }
    case 'LIST': {
      const read = item(0, type.item as SqlType)
      return (row) => range(valueOffsets[row] as number, valueOffsets[row + 1] as number, read)
    }
    case 'ARRAY': {
      const read = item(0, type.item as SqlType)
      const length = type.length ?? 0
      return (row) => range(row * length, (row + 1) * length, read)
    }
    case 'MAP': {
      const [entries] = children
      const key = plainReader(type.key as SqlType, entries?.children[0] as Data)
      const value = plainReader(type.item as SqlType, entries?.children[1] as Data)
      return (row) => range(valueOffsets[row] as number, valueOffsets[row + 1] as number, (at) => [key(at), value(at)])
    }
    case 'STRUCT': {
      const fields = (type.fields ?? []).map((field, at) => [field.name, item(at, field.type)] as const)
      if (isUnnamed(type)) return (row) => fields.map(([, read]) => read(row))
      return (row) => Object.fromEntries(fields.map(([name, read]) => [name, read(row)]))
    }
    case 'UNION': {
      const tag = text(children[0] as Data)
      const members = new Map((type.fields ?? []).map((field, at) => [field.name, item(at + 1, field.type)]))
      return (row) => ({ [tag(row)]: members.get(tag(row))?.(row) ?? null })
    }
    default:
      return text(data)
  }
}

const range = (from: number, to: number, read: Read): Plain[] =>
  Array.from({ length: to - from }, (_, at) => read(from + at))

function bytesIn({ values, valueOffsets }: Data): (row: number) => Buffer {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  return (row) => bytes.subarray(valueOffsets[row], valueOffsets[row + 1])
}

function text(data: Data): (row: number) => string {
  const bytes = bytesIn(data)
  return (row) => bytes(row).toString('utf8')
}

/** Two words of 64 bits, the lower one first. */
function decimal(values: Uint32Array, scale: number): Read {
  const words = new DataView(values.buffer, values.byteOffset, values.byteLength)
  return (row) => {
    const unscaled = words.getBigInt64(row * 16 + 8, true) * 2n ** 64n + words.getBigUint64(row * 16, true)
    if (scale === 0) return String(unscaled)
    const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0')
    return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
  }
}

/** DuckDB's value for an infinite instant or day; negated for -infinity. */
const INFINITE_INSTANT = 2n ** 63n - 1n
const INFINITE_DAY = 2 ** 31 - 1

function infinity<N extends number | bigint>(value: N, infinite: N): string | undefined {
  return value === infinite ? 'infinity' : value === -infinite ? '-infinity' : undefined
}
