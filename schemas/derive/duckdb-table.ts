import type { EventType } from '../declare/event.ts'
import type { Field } from '../declare/logical-types.ts'
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
  column('ce_source', 'VARCHAR', 'who said it'),
  column('ce_time', 'TIMESTAMPTZ', 'the latest of its causes; for a fact, when it was recorded'),
  column('ce_clock', 'VARCHAR', 'virtual or wall: the clock of ce_time'),
  column('ce_causes', 'VARCHAR[]', 'ce_id of the events that it follows from'),
  column('ce_correlation', 'VARCHAR', 'what belongs together across events', true),
  column('ce_producerversion', 'VARCHAR', 'version of the code that said it', true),
  column('ce_modelhash', 'VARCHAR', 'the model that computed it', true),
  column('ce_seed', 'VARCHAR', 'the seed that it was made with', true),
  column('log_partition', 'INTEGER', 'where the log holds it'),
  column('log_offset', 'BIGINT', 'where the log holds it'),
  column('row', 'INTEGER', 'row of the batch; 0 for a fact'),
]

/**
 * Type `tower.completions_scored` → schema `tower`, table `completions_scored`, unique on (ce_id, row).
 *
 * @throws Error when a field has the name of an envelope column
 */
export function tableOf(type: EventType): EventTable {
  const [schema, table] = type.type.split('.') as [string, string]
  const clash = envelopeColumns.find(({ name }) => name in type.row)
  if (clash !== undefined) throw new Error(`${type.type}: field ${clash.name} has the name of an envelope column`)
  const own = Object.entries(type.row).map(([name, field]) =>
    column(name, duckdbTypeOf(field), field.about, field.nullable),
  )
  const columns = [...envelopeColumns, ...own]
  return { schema, table, columns, ddl: ddlOf(schema, table, columns, type.about) }
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
