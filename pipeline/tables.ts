import { type OwnerHow, SupervisedSink } from '../sinks/duckdb/process/supervised-sink.ts'
import { type DataFolder, exportFolder } from './data-folder.ts'

const ENTRY = new URL('./tables-process.ts', import.meta.url)

/**
 * Starts the process that owns the tables, so that it loads its code while this process opens the log. `open` then
 * names the tables.
 */
export function startTables(memory: number | undefined, report: (message: string) => void): SupervisedSink {
  return new SupervisedSink({ entry: ENTRY, memory, report })
}

/** The tables of a data folder. */
export const tablesOf = ({ duckdb_file, place, dir }: DataFolder): OwnerHow => ({
  file: duckdb_file,
  place,
  export_dir: exportFolder(dir),
})
