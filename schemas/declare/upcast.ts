import type { EarlierVersion, EventType } from './event.ts'
import type { Fields } from './logical-types.ts'
import { throughSteps } from './upcast-steps.ts'

type Row = Record<string, unknown>

/**
 * Converts data of an earlier version to the current one: applies each version's upcaster in turn, row by row. A
 * recorded log is never rewritten, so this runs on every read.
 *
 * @throws Error when an upcaster throws, naming it
 */
export function upcastData(type: EventType, from: number, data: unknown): unknown {
  const steps = stepsFrom(type, from).map(({ version, upcast }) => ({
    version,
    upcast: upcast ?? withNulls(rowAfter(type, version)),
  }))
  const upcast = (row: Row) => throughSteps(type.type, steps, row)
  return Array.isArray(data) ? data.map(upcast) : upcast(data as Row)
}

/**
 * Whether rows of that version, or of one that this program does not read, may have other values in the current one,
 * nulls in added fields aside.
 */
export function upcastChangesValues(type: EventType, from: number): boolean {
  if (from === type.version) return false
  const steps = stepsFrom(type, from)
  return steps[0]?.version !== from || steps.some(({ upcast }) => upcast !== undefined)
}

const stepsFrom = (type: EventType, from: number): readonly EarlierVersion[] =>
  type.earlier.filter(({ version }) => version >= from)

const rowAfter = (type: EventType, version: number): Fields =>
  type.earlier.find((step) => step.version === version + 1)?.row ?? type.row

const withNulls = (fields: Fields) => {
  const nulls = Object.fromEntries(Object.keys(fields).map((name) => [name, null]))
  return (row: Row): Row => ({ ...nulls, ...row })
}
