import type { EventType } from './event.ts'

type Row = Record<string, unknown>

/**
 * Converts data of an earlier version to the current one: applies each version's upcaster in turn, row by row. A
 * recorded log is never rewritten, so this runs on every read.
 *
 * @throws Error when an upcaster throws, naming it
 */
export function upcastData(type: EventType, from: number, data: unknown): unknown {
  const steps = type.earlier.filter(({ version }) => version >= from)
  const upcast = (row: Row) =>
    steps.reduce((current, step) => {
      try {
        return step.upcast(current)
      } catch (error) {
        throw new Error(`${type.type}: upcasting v${step.version} to v${step.version + 1} failed: ${String(error)}`)
      }
    }, row)
  return Array.isArray(data) ? data.map(upcast) : upcast(data as Row)
}
