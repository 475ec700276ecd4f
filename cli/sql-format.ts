import { shortened } from '../pipeline/text/terminal-text.ts'
import { textTable } from '../pipeline/text/text-table.ts'
import { isUnnamed, type Plain, type SqlResult, type SqlType } from '../sinks/duckdb/sql-result.ts'

export const SQL_FORMATS = ['table', 'json', 'csv', 'arrow'] as const
export type SqlFormat = (typeof SQL_FORMATS)[number]

export interface FormatOptions {
  /** Rows that a table prints before it only counts the rest; other formats print all rows. */
  readonly limit?: number
  /** Widest value in a table, in terminal columns. */
  readonly max_width?: number
}

/** `json`, `csv` and `arrow` stream with full precision; `table` is for reading and rounds. */
export function formatRows(
  result: SqlResult,
  format: SqlFormat,
  options: FormatOptions = {},
): AsyncIterable<string | Uint8Array> {
  switch (format) {
    case 'table':
      return tableText(result, options.limit ?? 40, options.max_width ?? 60)
    case 'json':
      return jsonText(result)
    case 'csv':
      return csvText(result)
    case 'arrow':
      return result.chunks
  }
}

const WIDE_INTEGERS = new Set(['BIGINT', 'UBIGINT', 'HUGEINT', 'UHUGEINT', 'BIGNUM', 'DECIMAL'])
const FLOATS = new Set(['FLOAT', 'DOUBLE'])
const SMALL_INTEGERS = new Set(['TINYINT', 'SMALLINT', 'INTEGER', 'UTINYINT', 'USMALLINT', 'UINTEGER'])
const isNumeric = ({ name }: SqlType) => WIDE_INTEGERS.has(name) || FLOATS.has(name) || SMALL_INTEGERS.has(name)

/** JSON text of a value, its wide integers and decimals as numbers with every digit. */
export function jsonOf(value: Plain, type: SqlType): string {
  if (value === null) return 'null'
  if (WIDE_INTEGERS.has(type.name)) return String(value)
  if (type.name === 'MAP') {
    const { key = TEXT, item = TEXT } = type
    const entries = (value as [Plain, Plain][]).map(([name, inner]) => `${keyOf(name, key)}:${jsonOf(inner, item)}`)
    return `{${entries.join(',')}}`
  }
  if (type.item !== undefined && Array.isArray(value)) {
    const { item } = type
    return `[${value.map((inner) => jsonOf(inner, item)).join(',')}]`
  }
  if (type.name === 'STRUCT' && isUnnamed(type)) {
    return `[${(value as Plain[]).map((inner, at) => jsonOf(inner, type.fields?.[at]?.type ?? TEXT)).join(',')}]`
  }
  if (type.fields !== undefined) {
    const record = value as Readonly<Record<string, Plain>>
    const fields = type.fields.filter(({ name }) => Object.hasOwn(record, name))
    return `{${fields.map(({ name, type }) => `${JSON.stringify(name)}:${jsonOf(record[name] ?? null, type)}`).join(',')}}`
  }
  return JSON.stringify(value)
}

const TEXT: SqlType = { name: 'VARCHAR' }

/** JSON keys must be strings. */
function keyOf(key: Plain, type: SqlType): string {
  const text = jsonOf(key, type)
  return text.startsWith('"') ? text : JSON.stringify(text)
}

async function* jsonText({ columns, batches }: SqlResult): AsyncGenerator<string> {
  const names = columns.map(({ name }) => JSON.stringify(name))
  let first = true
  yield '['
  for await (const rows of batches) {
    let text = ''
    for (const row of rows) {
      const fields = columns.map(({ type }, column) => `${names[column]}:${jsonOf(row[column] ?? null, type)}`)
      text += `${first ? '\n' : ',\n'}{${fields.join(',')}}`
      first = false
    }
    yield text
  }
  yield first ? ']\n' : '\n]\n'
}

/** RFC 4180. NULL is an empty field, an empty text is `""`. */
async function* csvText({ columns, batches }: SqlResult): AsyncGenerator<string> {
  yield `${columns.map(({ name }) => csvField(name)).join(',')}\r\n`
  for await (const rows of batches) {
    let text = ''
    for (const row of rows) {
      text += `${columns.map(({ type }, column) => csvValue(row[column] ?? null, type)).join(',')}\r\n`
    }
    yield text
  }
}

function csvValue(value: Plain, type: SqlType): string {
  if (value === null) return ''
  return csvField(typeof value === 'object' ? jsonOf(value, type) : String(value))
}

function csvField(text: string): string {
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

const NULL = 'NULL'

async function* tableText({ columns, batches }: SqlResult, limit: number, max_width: number): AsyncGenerator<string> {
  const shown: Plain[][] = []
  let more = 0
  for await (const rows of batches) {
    const room = Math.max(0, limit - shown.length)
    shown.push(...rows.slice(0, room))
    more += Math.max(0, rows.length - room)
  }
  const texts = columns.map(({ type }, column) => {
    const values = shown.map((row) => row[column] ?? null)
    const cells = FLOATS.has(type.name) ? floatCells(values) : values.map((value) => cell(value, type))
    return cells.map((text) => shortened(text, max_width))
  })
  yield textTable(
    columns.map(({ name, type }) => ({ name: shortened(name, max_width), right: isNumeric(type) })),
    shown.map((_, row) => texts.map((column) => column[row] ?? '')),
  )
  if (more > 0) yield `… ${more.toLocaleString('en')} more ${more === 1 ? 'row' : 'rows'}\n`
}

function cell(value: Plain, type: SqlType): string {
  if (value === null) return NULL
  return typeof value === 'object' ? jsonOf(value, type) : String(value)
}

/** One number of decimals for a column: as few as its values need, at most six digits of its largest value. */
function floatCells(values: readonly Plain[]): string[] {
  const numbers = values.filter((value) => typeof value === 'number')
  const plain = numbers.every((value) => value === 0 || (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e12))
  const largest = Math.max(1, ...numbers.map(Math.abs))
  const most = Math.max(0, 5 - Math.floor(Math.log10(largest)))
  const decimals = Math.max(0, ...numbers.map((value) => decimalsOf(value, most)))
  return values.map((value) => {
    if (value === null) return NULL
    if (typeof value !== 'number') return String(value)
    return plain ? value.toFixed(decimals) : String(Number(value.toPrecision(6)))
  })
}

function decimalsOf(value: number, most: number): number {
  const fraction = value.toFixed(most).split('.')[1] ?? ''
  return fraction.replace(/0+$/, '').length
}
