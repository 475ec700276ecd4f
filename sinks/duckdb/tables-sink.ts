import type { LoadedOnce, Sink, SinkHealth } from '../sink.ts'
import type { Loaded } from './loader.ts'

/** The DuckDB tables as a sink, loaded in this process or in a child process. */
export interface TablesSink extends Sink {
  readonly name: 'duckdb'
  /** The socket that answers SQL, if there is one. */
  readonly socket: string | undefined
  readonly health: TablesHealth
  loadOnce(signal?: AbortSignal): Promise<Loaded & LoadedOnce>
}

export interface TablesHealth extends SinkHealth {
  /** How often the process that owns the tables was restarted after it had ended unasked. */
  readonly restarts?: number
  /** Memory of that process, bytes; undefined before it was measured. */
  readonly memory_bytes?: number | undefined
}
