import { resolve } from 'node:path'
import { openJsonlSink } from '../sinks/jsonl/jsonl-sink.ts'
import type { Sink } from '../sinks/sink.ts'
import type { SinkName } from '../streams/domain.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { startTables, tablesOf } from './tables.ts'

export interface SinkPlace {
  /** The folder of the JSON Lines sink. */
  readonly jsonl?: string | undefined
  /** Bytes that loading into DuckDB and questions may take together. */
  readonly memory?: number | undefined
}

export interface StartedSinks {
  open(folder: DataFolder, topology: Topology): Promise<readonly Sink[]>
  close(): Promise<void>
}

/** Starts these sinks; the process that owns the tables loads its code while this one opens the log. */
export function startSinks(
  names: readonly SinkName[],
  { jsonl, memory }: SinkPlace,
  report: (message: string) => void,
): StartedSinks {
  const tables = names.includes('duckdb') ? startTables(memory, report) : undefined
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
