import type { EventType } from '../declare/event.ts'
import type { Field } from '../declare/logical-types.ts'
import { TensorRef } from '../declare/tensor-value.ts'
import { physical } from '../wire/type-table.ts'
import { literal, qualified, quoted } from './sql-quoting.ts'

export interface Column {
  readonly name: string
  /** A DuckDB type name. */
  readonly type: string
  readonly nullable: boolean
  readonly about: string
}

/** The DuckDB table for an event's rows: one row for a fact, one for each row of a batch. */
export interface EventTable {
  readonly schema: string
  readonly table: string
  /** The envelope's columns, then the event's own in the declared order. */
  readonly columns: readonly Column[]
  /** Several statements: create schema and table if missing, and set the comments. */
  readonly ddl: string
}

const column = (name: string, type: string, about: string, nullable = false): Column => ({
  name,
  type,
  nullable,
  about,
})

const envelopeColumns: readonly Column[] = [
  column('ce_id', 'VARCHAR', 'identity of the event'),
  column('ce_source', 'VARCHAR', 'the producer'),
  column('ce_time', 'TIMESTAMPTZ', 'the latest of its causes; for a fact, when it was recorded'),
  column('ce_clock', 'VARCHAR', 'virtual or wall: the clock of ce_time'),
  column('ce_causes', 'VARCHAR[]', 'ce_id of the events that it follows from'),
  column('ce_correlation', 'VARCHAR', 'what belongs together across events', true),
  column('ce_producerversion', 'VARCHAR', 'version of the code that emitted it', true),
  column('ce_modelhash', 'VARCHAR', 'the model that computed it', true),
  column('ce_seed', 'VARCHAR', 'the seed that it was made with', true),
  column('log_partition', 'INTEGER', 'where the log holds it'),
  column('log_offset', 'BIGINT', 'where the log holds it'),
  column('row', 'INTEGER', 'row of the batch; 0 for a fact'),
]

/**
 * Type `tower.completions_scored` → schema `tower`, table `completions_scored`, unique on (ce_id, row).
 *
 * @throws Error when a field has the name of an envelope column, or of the column of another one's reference
 */
export function tableOf(type: EventType): EventTable {
  const [schema, table] = type.type.split('.') as [string, string]
  const clash = envelopeColumns.find(({ name }) => name in type.row)
  if (clash !== undefined) throw new Error(`${type.type}: field ${clash.name} has the name of an envelope column`)
  const own = Object.entries(type.row).flatMap(([name, field]) => columnsOf(name, field))
  const twice = own.find(({ name }, at) => own.findIndex((other) => other.name === name) !== at)
  if (twice !== undefined)
    throw new Error(`${type.type}: field ${twice.name} has the name of the column of a reference`)
  const columns = [...envelopeColumns, ...own]
  return { schema, table, columns, ddl: ddlOf(schema, table, columns, type.about) }
}

const REFERENCE = '_blob'
const REFERENCE_TYPE =
  'STRUCT(sha256 VARCHAR, bytes BIGINT, "row" INTEGER, shape INTEGER[], numbers BIGINT, min DOUBLE, max DOUBLE, mean DOUBLE)'

/** A tensor has its elements in one column, or a reference to them in the next: a large one is never loaded. */
function columnsOf(name: string, field: Field): Column[] {
  const type = duckdbTypeOf(field)
  if (!physical(field.logical).by_reference) return [column(name, type, field.about, field.nullable)]
  const about = `where ${name} is, when it is stored in a blob: its row there, its shape, statistics of all rows`
  return [column(name, type, field.about, true), column(name + REFERENCE, REFERENCE_TYPE, about, true)]
}

/** Reads the value of a column of an event's own from a row of the event. */
export function valueReader(type: EventType, name: string): (row: Readonly<Record<string, unknown>>) => unknown {
  const field = type.row[name]
  if (field === undefined) {
    const of = name.slice(0, -REFERENCE.length)
    return (row) => (row[of] instanceof TensorRef ? referenceOf(row[of]) : null)
  }
  if (!physical(field.logical).by_reference) return (row) => row[name]
  return (row) => (row[name] instanceof TensorRef ? null : row[name])
}

function referenceOf({ column: { sha256, bytes, type, numbers, min, max, mean }, row }: TensorRef) {
  const { shape } = type as { readonly shape: readonly number[] }
  return { sha256, bytes, row, shape, numbers, min, max, mean }
}

export function duckdbTypeOf({ logical }: Field): string {
  return physical(logical).duckdb(logical, duckdbTypeOf)
}

function ddlOf(schema: string, table: string, columns: readonly Column[], about: string): string {
  const name = qualified(schema, table)
  const lines = columns.map((each) => `  ${quoted(each.name)} ${each.type}${each.nullable ? '' : ' NOT NULL'}`)
  const comments = columns.filter((each) => each.about !== '')
  return [
    `CREATE SCHEMA IF NOT EXISTS ${quoted(schema)};`,
    `CREATE TABLE IF NOT EXISTS ${name} (\n${[...lines, '  UNIQUE ("ce_id", "row")'].join(',\n')}\n);`,
    `COMMENT ON TABLE ${name} IS ${literal(about)};`,
    ...comments.map((each) => `COMMENT ON COLUMN ${name}.${quoted(each.name)} IS ${literal(each.about)};`),
  ].join('\n')
}
