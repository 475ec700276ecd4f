import type { Sink } from '../sinks/sink.ts'
import { SINKS, type SinkName } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { startTables, tablesOf } from './tables.ts'
import { UsageError } from './usage-error.ts'

export const isSink = (name: string) => SINKS.some((sink) => sink === name)

/** What the command line says about sinks. */
export interface SinkOptions {
  readonly only?: readonly string[]
  /** False with `--no-sink`. */
  readonly sink: boolean
  readonly sqlMemory?: number
}

/** The sinks of a run. @throws UsageError when options contradict each other */
export function chosenSinks({ only = [], sink }: SinkOptions): readonly SinkName[] {
  const named = SINKS.filter((name) => only.includes(name))
  if (sink) return only.length === 0 ? SINKS : named
  if (named.length === 0) return []
  throw new UsageError(`--no-sink and --only ${named[0]}: expected one of the two`, 'for a sink alone: --only NAME')
}

export interface StartedSinks {
  open(folder: DataFolder): Promise<readonly Sink[]>
  close(): Promise<void>
}

/** Starts these sinks; the process that owns the tables loads its code while this one opens the log. */
export function startSinks(
  names: readonly SinkName[],
  { sqlMemory }: SinkOptions,
  report: (message: string) => void,
): StartedSinks {
  const tables = names.includes('duckdb') ? startTables(sqlMemory, report) : undefined
  const sinks: Sink[] = tables === undefined ? [] : [tables]
  return {
    async open(folder) {
      await tables?.open(tablesOf(folder))
      return sinks
    },
    async close() {
      await Promise.all(sinks.map((sink) => sink.close()))
    },
  }
}
