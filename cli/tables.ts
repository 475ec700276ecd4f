import { LEAST_MEMORY } from '../sinks/duckdb/process/memory.ts'
import { type OwnerHow, SupervisedSink } from '../sinks/duckdb/process/supervised-sink.ts'
import { type DataFolder, exportFolder } from './data-folder.ts'
import { UsageError } from './usage-error.ts'

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

const UNITS: Readonly<Record<string, number>> = { M: 2 ** 20, G: 2 ** 30 }

/** Parser of `--sql-memory`. */
export function memorySize(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)\s*([MG])(?:i?B)?$/i.exec(text) ?? []
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toUpperCase()] ?? Number.NaN))
  if (Number.isSafeInteger(bytes) && bytes >= LEAST_MEMORY) return bytes
  throw new UsageError(
    `--sql-memory ${text}: expected a size of at least ${LEAST_MEMORY / 2 ** 20}MiB`,
    'e.g. --sql-memory 4GiB',
  )
}

export const SQL_MEMORY = [
  '--sql-memory <size>',
  'what loading and questions may take together; beyond it the process that does both is started again (3/8 of the memory here)',
  memorySize,
] as const
