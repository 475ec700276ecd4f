import type { SinkPlaces } from '../pipeline/sinks.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'
import { SINKS } from '../streams/domain.ts'

export const isSink = (name: string) => SINKS.includes(name)

/** What the command line says about sinks. */
export interface ChosenSinks {
  readonly only?: readonly string[]
  /** False with `--no-sink`. */
  readonly sink: boolean
}

/** The sinks of a run. @throws UsageError when options contradict each other */
export function chosenSinks({ only = [], sink }: ChosenSinks, places: SinkPlaces): readonly string[] {
  const named = SINKS.filter((name) => only.includes(name))
  for (const { name, place } of SINK_KINDS) {
    if (places[name] === '') throw new UsageError(`--${name}: expected a ${place}`, `e.g. --${name} my-${name}`)
  }
  const [placed] = Object.entries(places)
  if (!sink && (placed !== undefined || named.length > 0)) {
    const other = placed === undefined ? `--only ${named[0]}` : `--${placed[0]} ${placed[1]}`
    throw new UsageError(`--no-sink and ${other}: expected one of the two`, 'for a sink alone: --only NAME')
  }
  if (!sink) return []
  // Naming processors alone selects no sinks: all of them run.
  if (named.length === 0) return SINKS.filter((name) => name === 'duckdb' || places[name] !== undefined)
  for (const { name, place } of SINK_KINDS) {
    const given = places[name]
    if (named.includes(name) && given === undefined)
      throw new UsageError(`--only ${name}: expected its ${place} too`, `add --${name} ${place.toUpperCase()}`)
    if (given !== undefined && !named.includes(name)) {
      const remedy = `add it: --only ${only.join(' ')} ${name}`
      throw new UsageError(`--${name} ${given}: --only leaves that sink out`, remedy)
    }
  }
  return named
}
