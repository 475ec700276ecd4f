import type { z } from 'zod'
import type { Event, EventType } from '../declare/event.ts'
import { InvalidEventError, shown } from '../declare/event-errors.ts'
import type { Field, Fields } from '../declare/logical-types.ts'
import { perObject } from '../declare/per-object.ts'
import { repeatedRow } from '../declare/row-key.ts'
import type { EventVersion } from './fingerprint.ts'
import { rowFits } from './quick-checks.ts'
import { physical } from './type-table.ts'
import { recordCheck } from './value-checks.ts'

export { InvalidEventError }

/** The zod schema of one field; nullability is handled here, once for all types. */
export function zodOf({ logical, nullable }: Field): z.ZodType {
  const schema = physical(logical).zod(logical, zodOf)
  return nullable ? schema.nullable() : schema
}

/** The same fields without bounds, for records written before bounds existed. */
export const withoutBounds = perObject((fields: Fields): Fields => {
  const inner = (field: Field): Field => ({
    ...field,
    logical: physical(field.logical).unbounded(field.logical, inner),
  })
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, inner(field)]))
})

/** The zod schema of one row. Undeclared fields are rejected; a nullable field must be present, if only as null. */
export const rowCheckOf = perObject((fields: Fields) =>
  recordCheck(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, zodOf(field)]))),
)

/**
 * Which rules to check. `all`: the whole declaration. `types`: the declaration without bounds and row keys. Earlier
 * releases checked no more than `types`, so the records they wrote stay readable.
 */
export type Asked = 'all' | 'types'

/**
 * Checks an event's data against its declaration, or that of an earlier version: one object for a fact; for a batch, at
 * least one row, the same key in every row, and each row key once.
 *
 * @returns the key
 * @throws InvalidEventError naming row and field, e.g. `tower.completions_scored v1: row 3 field reward: expected a
 * finite float64, got NaN`.
 */
export function validateData(
  type: EventType,
  data: unknown,
  { version, row: declared }: EventVersion = type,
  asked: Asked = 'all',
): string {
  const row = asked === 'all' ? declared : withoutBounds(declared)
  const where = `${type.type} v${version}:`
  const fail = (problem: string): never => {
    throw new InvalidEventError(`${where} ${problem}`)
  }
  const check = rowCheckOf(row)
  const fits = rowFits(row)
  if (type.encoding === 'json') {
    const problem = fits(data) ? undefined : problemOf(check, data)
    if (problem !== undefined) fail(problem)
    return (data as Record<string, string>)[type.key] as string
  }
  if (!Array.isArray(data)) return fail(`expected an array of rows, got ${shown(data)}`)
  const rows: Record<string, string>[] = data
  if (rows.length === 0) return fail('expected at least one row, got none')
  const key = rows[0]?.[type.key] as string
  const failRow = (index: number, problem: string): never => {
    // A row that is not an object has no field to name.
    const separator = problem.startsWith('field ') ? ' ' : ': '
    throw new InvalidEventError(`${where} row ${index}${separator}${problem}`, { index, problem })
  }
  rows.forEach((value, index) => {
    const problem = fits(value) ? undefined : problemOf(check, value)
    if (problem !== undefined) failRow(index, problem)
    const other = value[type.key]
    if (other !== key)
      failRow(index, `field ${type.key}: expected the key of row 0, ${shown(key)}, got ${shown(other)}`)
  })
  const repeated = asked === 'all' ? repeatedRow(rows, type.row_key) : undefined
  if (repeated !== undefined) fail(repeated)
  return key
}

/**
 * Why today's rules would reject an event that was read from a record of an earlier release; undefined if they accept
 * it.
 */
export function wouldRefuseToday(type: EventType, event: Event): string | undefined {
  if (event.before_rules === undefined) return undefined
  try {
    validateData(type, event.data)
    return undefined
  } catch (error) {
    if (!(error instanceof InvalidEventError)) throw error
    return (error as InvalidEventError).message
  }
}

/** The first problem of a row, with the name of its field; undefined for a valid row. */
function problemOf(check: z.ZodType, value: unknown): string | undefined {
  const issue = check.safeParse(value).error?.issues[0]
  if (issue === undefined) return undefined
  const at = (path: readonly PropertyKey[]) => (path.length === 0 ? '' : `field ${pathText(path)}: `)
  if (issue.code === 'unrecognized_keys') {
    return `${at([...issue.path, ...issue.keys.slice(0, 1)])}the declaration has no such field`
  }
  const actual = issue.path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown>)?.[key], value)
  return `${at(issue.path)}expected ${issue.message}, got ${shown(actual)}`
}

function pathText(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('')
  return text.replace(/^\./, '')
}
