import { UsageError } from '../pipeline/usage-error.ts'
import { LEAST_MEMORY } from '../sinks/duckdb/process/memory.ts'

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
  'memory limit of loading and queries together; beyond it, the process that does both is restarted (3/8 of the memory here)',
  memorySize,
] as const
