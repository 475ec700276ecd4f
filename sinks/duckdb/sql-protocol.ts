import type { AsOf } from './as-of.ts'
import type { ParquetRequest } from './export-parquet.ts'

export interface Question {
  readonly sql: string
  /** Export this table as Parquet instead of running the statement. */
  readonly parquet?: ParquetRequest
  /** Answer at these offsets. */
  readonly as_of?: AsOf
  readonly time_limit_ms?: number
}

/** For statements that set no limit. */
export const DEFAULT_TIME_LIMIT_MS = 60_000

/** Increase it when an owner and a client of different versions would misread each other. */
export const PROTOCOL = 1

/** GET: the `Owner` that answers here; POST to `SQL_PATH`: a question. */
export const OWNER_PATH = '/owner'
export const SQL_PATH = '/sql'

/** How the process that has a DuckDB file open describes itself. */
export interface Owner {
  readonly protocol: number
  readonly pid: number
  /** The process to stop: the one that started it, and would start it again. */
  readonly started_by: number
  /** When it opened the file, RFC 3339. */
  readonly since: string
  /** Of the file. */
  readonly inode: number
}
