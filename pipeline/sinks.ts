import { resolve } from 'node:path'
import { SINK_KINDS } from '../sinks/kinds.ts'
import type { Sink } from '../sinks/sink.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { startTables, tablesOf } from './tables.ts'

/** The file or folder of each kind of sink, by its name. */
export type SinkPlaces = Readonly<Record<string, string>>

export interface SinkOptions {
  readonly places: SinkPlaces
  /** Bytes that loading into DuckDB and questions may take together. */
  readonly memory?: number | undefined
}

export interface StartedSinks {
  open(folder: DataFolder, topology: Topology): Promise<readonly Sink[]>
  close(): Promise<void>
}

/** Starts those of `SINKS` that are named; the process that owns the tables loads its code while this one opens the log. */
export function startSinks(
  names: readonly string[],
  { places, memory }: SinkOptions,
  report: (message: string) => void,
): StartedSinks {
  const tables = names.includes('duckdb') ? startTables(memory, report) : undefined
  const sinks: Sink[] = tables === undefined ? [] : [tables]
  return {
    async open(folder, { events: catalogue }) {
      const { log, blobs } = folder
      await tables?.open(tablesOf(folder))
      for (const { name, open } of SINK_KINDS) {
        const place = places[name]
        if (!names.includes(name) || place === undefined) continue
        sinks.push(await open(resolve(place), { log, blobs, catalogue, report }))
      }
      return sinks
    },
    async close() {
      await Promise.all(sinks.map((sink) => sink.close()))
    },
  }
}
