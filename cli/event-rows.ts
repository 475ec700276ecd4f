import type { PlainEvent } from '../infra/runtime/watch/plain-event.ts'
import { printableLine, shortened } from '../pipeline/text/terminal-text.ts'
import { textColumns } from '../pipeline/text/text-table.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { valueTypes } from '../schemas/declare/declared-value.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { type Fields, int32, type Logical, struct, utf8 } from '../schemas/declare/logical-types.ts'

/** A row matches when every condition holds. */
export interface Condition {
  readonly path: readonly string[]
  readonly value: string
}

/** Parses `field=value`; the field may be nested: `start.value.dataset=side_block`. */
export function condition(text: string): Condition {
  const at = text.indexOf('=')
  if (at < 1) {
    throw new UsageError(
      `--where ${text}: expected FIELD=VALUE`,
      'e.g. --where outcome=stable or --where start.value.height=3',
    )
  }
  return { path: text.slice(0, at).split('.'), value: text.slice(at + 1) }
}

const ENVELOPE = [
  ...['ce_id', 'ce_source', 'ce_version', 'ce_time', 'ce_clock', 'ce_causes', 'ce_correlation'],
  ...['ce_producer_version', 'ce_model_hash', 'ce_seed'],
]

/** A misspelt field would match no row, which looks like a result. @throws UsageError that lists the fields */
export function refuseUnknownFields(type: EventType, conditions: readonly Condition[]): void {
  for (const { path, value } of conditions) {
    const [first = ''] = path
    if (!(first in type.row) && ENVELOPE.includes(first)) continue
    let fields: Fields | undefined = type.row
    for (const name of path) {
      if (fields !== undefined && !(name in fields)) {
        const names = Object.keys(fields).join(', ')
        throw new UsageError(
          `--where ${path.join('.')}=${value}: ${type.type} has no field ${name}; there are ${names}`,
          `of the envelope: ${ENVELOPE.join(', ')}; what each means: ./plumbline events ${type.type}`,
        )
      }
      const logical: Logical | undefined = fields?.[name]?.logical
      // Items of a list or map are addressed by index or key, which no declaration lists.
      fields = logical && fieldsInside(logical)
    }
  }
}

/** Of a declared value: the fields of every declaration, for a path does not say which one it means. */
function fieldsInside(logical: Logical): Fields | undefined {
  if (logical.kind === 'struct') return logical.fields
  if (logical.kind !== 'declared') return undefined
  const all = valueTypes().map(({ fields }) => fields)
  return { declaration: utf8(), version: int32(), value: struct(Object.assign({}, ...all)) }
}

/** The event with the rows that fulfil every condition; undefined when none does. */
export function onlyWhere(event: PlainEvent, conditions: readonly Condition[]): PlainEvent | undefined {
  if (conditions.length === 0) return event
  const rows = event.rows.filter((row) => conditions.every(({ path, value }) => textAt(event, row, path) === value))
  return rows.length === 0 ? undefined : { ...event, rows }
}

/** A field of the row, or `ce_…` of the envelope. */
function textAt(
  event: PlainEvent,
  row: Readonly<Record<string, unknown>>,
  path: readonly string[],
): string | undefined {
  const [first = '', ...rest] = path
  const envelope = first.startsWith('ce_') && !(first in row)
  let value: unknown = envelope ? event.envelope?.[first.slice('ce_'.length)] : row[first]
  for (const name of rest) value = (value as Record<string, unknown> | null | undefined)?.[name]
  return value === undefined ? undefined : typeof value === 'string' ? value : JSON.stringify(value)
}

/**
 * For people: a line that identifies the event; then the fields that all its rows share, one per line; then, for a
 * batch, the fields that differ, as a table. Shared fields that are null are left out.
 */
export function eventLines(event: PlainEvent, max_width: number): string {
  const { topic, partition, offset, key, envelope, rows, unreadable } = event
  const head = [
    String(envelope?.time ?? event.appended),
    topic,
    `p${partition}@${offset}`,
    ...(key === null ? [] : [`key ${shown(key, max_width)}`]),
    ...(envelope === undefined ? [] : [`id ${String(envelope.id).slice(0, 12)}`, String(envelope.source)]),
  ]
    .map(printableLine)
    .join('  ')
  if (unreadable !== undefined) return `${head}\n  UNREADABLE: ${printableLine(unreadable)}\n`
  const shared = rows.length > 1 ? sharedFields(rows) : new Set(Object.keys(rows[0] ?? {}))
  return `${head}\n${fieldLines(rows[0] ?? {}, shared, max_width)}${tableLines(rows, shared, max_width)}`
}

function sharedFields(rows: PlainEvent['rows']): Set<string> {
  const [first = {}, ...others] = rows
  const same = (name: string) => {
    const value = JSON.stringify(first[name])
    return others.every((row) => JSON.stringify(row[name]) === value)
  }
  return new Set(Object.keys(first).filter(same))
}

function fieldLines(row: PlainEvent['rows'][number], names: ReadonlySet<string>, max_width: number): string {
  const fields = Object.entries(row).filter(([name, value]) => names.has(name) && value !== null)
  return indented(textColumns(fields.map(([name, value]) => [name, shown(value, max_width)])))
}

function tableLines(rows: PlainEvent['rows'], shared: ReadonlySet<string>, max_width: number): string {
  const names = Object.keys(rows[0] ?? {}).filter((name) => !shared.has(name))
  if (names.length === 0) return ''
  const isNumeric = (name: string) => rows.every(({ [name]: value }) => value === null || typeof value === 'number')
  const right = new Set([...names.keys()].filter((at) => isNumeric(names[at] as string)))
  const cells = rows.map((row) => names.map((name) => (row[name] === null ? '·' : shown(row[name], max_width))))
  return indented(textColumns([names, ...cells], { right }))
}

const indented = (lines: readonly string[]) => lines.map((line) => `  ${line}\n`).join('')

const shown = (value: unknown, max_width: number) =>
  shortened(typeof value === 'string' ? value : JSON.stringify(value), max_width)
