import type { LogRecord } from '../infra/log/log.ts'
import type { Event, EventType } from '../schemas/event.ts'
import { rowsOf } from '../schemas/event.ts'
import { jsonCodec } from '../schemas/json-codec.ts'
import { textColumns } from './text-table.ts'
import { UsageError } from './usage-error.ts'

/** One event as plain JSON: where the log holds it, its envelope, and its rows. */
export interface PlainEvent {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly appended: string
  readonly key: string | null
  /** Absent for what workers write for themselves, and for what cannot be read. */
  readonly envelope?: Readonly<Record<string, unknown>>
  readonly rows: readonly Readonly<Record<string, unknown>>[]
  /** Why the record cannot be read. */
  readonly unreadable?: string
}

export function placeOf({ topic, partition, offset, appended_ms, key }: LogRecord) {
  return { topic, partition, offset: Number(offset), appended: new Date(appended_ms).toISOString(), key }
}

export function plainEvent(record: LogRecord, type: EventType, event: Event): PlainEvent {
  const codec = jsonCodec(type.row)
  const { id, source, version, time, clock, causes, correlation, producer_version, model_hash, seed } = event
  const envelope = { id, source, version, time, clock, causes, correlation, producer_version, model_hash, seed }
  return {
    ...placeOf(record),
    envelope,
    rows: rowsOf(event).map((row) => codec.toJson(row) as Record<string, unknown>),
  }
}

/** A row is wanted when every condition holds. */
export interface Condition {
  readonly path: readonly string[]
  readonly value: string
}

/** `field=value`, where the field may lie in another one: `scene.dataset=side_block`. */
export function condition(text: string): Condition {
  const at = text.indexOf('=')
  if (at < 1) {
    throw new UsageError(
      `--where ${text}: expected FIELD=VALUE`,
      'e.g. --where outcome=stable or --where scene.height=3',
    )
  }
  return { path: text.slice(0, at).split('.'), value: text.slice(at + 1) }
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
 * For people: a line that says which event this is; then what all its rows share, a field on each line; then, of a
 * batch, what differs as a table. What is null everywhere is left out.
 */
export function eventLines(event: PlainEvent, max_width: number): string {
  const { topic, partition, offset, key, envelope, rows, unreadable } = event
  const head = [
    String(envelope?.time ?? event.appended),
    topic,
    `p${partition}@${offset}`,
    ...(key === null ? [] : [`key ${shown(key, max_width)}`]),
    ...(envelope === undefined ? [] : [`id ${String(envelope.id).slice(0, 12)}`, String(envelope.source)]),
  ].join('  ')
  if (unreadable !== undefined) return `${head}\n  UNREADABLE: ${unreadable}\n`
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

function shown(value: unknown, max_width: number): string {
  const text = (typeof value === 'string' ? value : JSON.stringify(value)).replaceAll(/\r?\n/g, '⏎')
  const characters = [...text]
  return characters.length <= max_width ? text : `${characters.slice(0, max_width - 1).join('')}…`
}
