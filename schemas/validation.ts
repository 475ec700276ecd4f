import type { z } from 'zod'
import type { EventType } from './event.ts'
import { InvalidEventError, shown } from './event-errors.ts'
import type { EventVersion } from './fingerprint.ts'
import type { Field, Fields } from './logical-types.ts'
import { physical } from './physical-types.ts'
import { rowFits } from './quick-checks.ts'
import { recordCheck } from './value-checks.ts'

export { InvalidEventError }

/** The zod schema of one field; null is allowed here, once for all types. */
export function zodOf({ logical, nullable }: Field): z.ZodType {
  const schema = physical(logical).zod(logical, zodOf)
  return nullable ? schema.nullable() : schema
}

const rowChecks = new WeakMap<Fields, z.ZodType>()

/** The zod schema of one row. Unknown fields are refused; a nullable field must be there, holding null. */
export function rowCheckOf(fields: Fields): z.ZodType {
  const known = rowChecks.get(fields)
  if (known !== undefined) return known
  const check = recordCheck(Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, zodOf(field)])))
  rowChecks.set(fields, check)
  return check
}

/**
 * Checks an event's data against its declaration, or that of an earlier version: one object for a fact, at least one
 * row for a batch, and the same key in every row.
 *
 * @returns the key
 * @throws InvalidEventError naming row and field, e.g. `tower.completions_scored v1: row 3 field reward: expected a
 * finite float64, got NaN`.
 */
export function validateData(type: EventType, data: unknown, { version, row }: EventVersion = type): string {
  const fail = (problem: string): never => {
    throw new InvalidEventError(`${type.type} v${version}: ${problem}`)
  }
  const check = rowCheckOf(row)
  const fits = rowFits(row)
  if (type.encoding === 'json') {
    const problem = fits(data) ? undefined : problemOf(check, data, '')
    if (problem !== undefined) fail(problem)
    return (data as Record<string, string>)[type.key] as string
  }
  if (!Array.isArray(data)) return fail(`expected an array of rows, got ${shown(data)}`)
  const rows: Record<string, string>[] = data
  if (rows.length === 0) return fail('expected at least one row, got none')
  const key = rows[0]?.[type.key] as string
  rows.forEach((value, at) => {
    const problem = fits(value) ? undefined : problemOf(check, value, `row ${at}`)
    if (problem !== undefined) fail(problem)
    const other = value[type.key]
    if (other !== key)
      fail(`row ${at} field ${type.key}: expected the key of row 0, ${shown(key)}, got ${shown(other)}`)
  })
  return key
}

/** The first thing wrong with a row, and where; `place` is the row's own. */
function problemOf(check: z.ZodType, value: unknown, place: string): string | undefined {
  const issue = check.safeParse(value).error?.issues[0]
  if (issue === undefined) return undefined
  const at = (path: readonly PropertyKey[]) => {
    const where = [place, path.length === 0 ? '' : `field ${pathText(path)}`].filter((part) => part !== '').join(' ')
    return where === '' ? '' : `${where}: `
  }
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
