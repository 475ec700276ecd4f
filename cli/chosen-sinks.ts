import { UsageError } from '../pipeline/usage-error.ts'
import { SINKS, type SinkName } from '../streams/domain.ts'

export const isSink = (name: string) => SINKS.some((sink) => sink === name)

/** What the command line says about sinks. */
export interface SinkOptions {
  readonly only?: readonly string[]
  /** False with `--no-sink`. */
  readonly sink: boolean
  readonly jsonl?: string
  readonly sqlMemory?: number
}

/** The sinks of a run. @throws UsageError when options contradict each other */
export function chosenSinks({ only = [], sink, jsonl }: SinkOptions): readonly SinkName[] {
  const named = SINKS.filter((name) => only.includes(name))
  if (jsonl === '') throw new UsageError('--jsonl: expected a folder', 'e.g. --jsonl events')
  if (!sink && (jsonl !== undefined || named.length > 0)) {
    const other = jsonl === undefined ? `--only ${named[0]}` : `--jsonl ${jsonl}`
    throw new UsageError(`--no-sink and ${other}: expected one of the two`, 'for a sink alone: --only NAME')
  }
  if (!sink) return []
  if (named.includes('jsonl') && jsonl === undefined)
    throw new UsageError('--only jsonl: expected a folder for the files', 'add --jsonl DIR')
  // Naming processors alone selects no sinks: all of them run.
  if (named.length === 0) return jsonl === undefined ? ['duckdb'] : SINKS
  if (jsonl !== undefined && !named.includes('jsonl'))
    throw new UsageError(`--jsonl ${jsonl}: --only leaves that sink out`, `add it: --only ${only.join(' ')} jsonl`)
  return named
}
