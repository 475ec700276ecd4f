import { totalmem } from 'node:os'

const MIB = 2 ** 20
/** With less, Node itself and one batch do not fit next to DuckDB. */
export const LEAST_MEMORY = 512 * MIB

/** How the memory of a process that has a DuckDB file open is divided, bytes. */
export interface MemoryShares {
  /** The process is ended when it takes more. */
  readonly process: number
  /** DuckDB's own limit: above it, DuckDB spills to disk or fails the question. It does not count all its memory. */
  readonly duckdb: number
  /** Limit of the JavaScript heap. */
  readonly heap: number
}

/**
 * DuckDB gets two thirds. The rest is for Node, and for memory that DuckDB does not count, such as texts while they are
 * built.
 *
 * @param process bytes; three eighths of the memory of the host or the container when left out, at least 1 GiB
 */
export function memoryShares(process = Math.max(1024 * MIB, Math.floor((hostMemory() * 3) / 8))): MemoryShares {
  return { process, duckdb: Math.floor((process * 2) / 3), heap: Math.max(256 * MIB, Math.floor(process / 4)) }
}

/** Of the container if there is one, bytes. */
function hostMemory(): number {
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
}

/** In DuckDB's notation. */
export const inMebibytes = (bytes: number) => `${Math.floor(bytes / MIB)}MiB`
