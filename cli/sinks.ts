import { resolve } from 'node:path'
import { openJsonlSink } from '../sinks/jsonl/jsonl-sink.ts'
import type { Sink } from '../sinks/sink.ts'
import { SINKS, type SinkName } from '../streams/domain.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { startTables, tablesOf } from './tables.ts'
import { UsageError } from './usage-error.ts'

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

export interface StartedSinks {
  open(folder: DataFolder, topology: Topology): Promise<readonly Sink[]>
  close(): Promise<void>
}

/** Starts these sinks; the process that owns the tables loads its code while this one opens the log. */
export function startSinks(
  names: readonly SinkName[],
  { jsonl, sqlMemory }: SinkOptions,
  report: (message: string) => void,
): StartedSinks {
  const tables = names.includes('duckdb') ? startTables(sqlMemory, report) : undefined
  const sinks: Sink[] = tables === undefined ? [] : [tables]
  return {
    async open(folder, { events: catalogue }) {
      await tables?.open(tablesOf(folder))
      if (names.includes('jsonl') && jsonl !== undefined) {
        const { log, blobs } = folder
        sinks.push(await openJsonlSink({ dir: resolve(jsonl), log, blobs, catalogue, report }))
      }
      return sinks
    },
    async close() {
      await Promise.all(sinks.map((sink) => sink.close()))
    },
  }
}
