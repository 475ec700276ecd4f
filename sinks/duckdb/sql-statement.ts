import {
  type DuckDBConnection,
  type DuckDBDataChunk,
  type DuckDBPreparedStatement,
  type DuckDBResult,
  type DuckDBType,
  StatementType,
} from '@duckdb/node-api'
import { arrowChunks, sqlColumn, type TypedColumn } from './sql-arrow.ts'
import { SqlFailedError, SqlRefusedError, SqlTimeoutError } from './sql-errors.ts'
import { approvedText, REMEDY } from './sql-guard.ts'
import type { ArrowResult, SqlColumn } from './sql-result.ts'

/**
 * Runs one statement that only reads. `sql-guard.ts` checks its syntax tree. Behind that are the database's own guards:
 * a READ ONLY transaction, and an instance without file access whose configuration is locked (`database.ts`).
 */

export interface SqlLimits {
  readonly time_limit_ms: number
  /** Cancels the statement: its client is gone. */
  readonly signal?: AbortSignal
}

const INTERRUPT_AGAIN_MS = 100

const READING: ReadonlySet<number> = new Set([StatementType.SELECT, StatementType.EXPLAIN])

/** The guard parsed the same text with the same parser. Still check that both found one reading statement. */
async function prepareReading(connection: DuckDBConnection, sql: string): Promise<DuckDBPreparedStatement> {
  const extracted = await connection.extractStatements(await approvedText(connection, sql))
  if (extracted.count !== 1) throw new SqlRefusedError(`expected one statement, got ${extracted.count}; ${REMEDY}`)
  const statement = await extracted.prepare(0)
  if (!READING.has(statement.statementType)) throw new SqlRefusedError(`the statement does not only read; ${REMEDY}`)
  return statement
}

/**
 * Takes over `connection`, which must have no other user, and disconnects it when the result has been read or closed.
 *
 * @throws SqlRefusedError, SqlTimeoutError, SqlFailedError
 */
export async function runStatement(connection: DuckDBConnection, sql: string, limits: SqlLimits): Promise<ArrowResult> {
  let timed_out = false
  let interrupting: NodeJS.Timeout | undefined
  // Repeated: an interrupt between two steps of a statement is lost when the next step starts.
  const interrupt = () => {
    interrupting ??= setInterval(() => connection.interrupt(), INTERRUPT_AGAIN_MS)
    connection.interrupt()
  }
  const timer = setTimeout(() => {
    timed_out = true
    interrupt()
  }, limits.time_limit_ms)
  limits.signal?.addEventListener('abort', interrupt)
  /** DuckDB's current step. If the connection is dropped meanwhile, the step never settles. */
  let step: Promise<unknown> = Promise.resolve()
  const inStep = <T>(work: Promise<T>): Promise<T> => {
    step = work.catch(() => {})
    return work
  }
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= (async () => {
      clearTimeout(timer)
      limits.signal?.removeEventListener('abort', interrupt)
      interrupt()
      await step
      clearInterval(interrupting)
      await connection.run('ROLLBACK').catch(() => {})
      connection.disconnectSync()
    })()
    return closing
  }
  const failed = (cause: unknown) => explain(cause, timed_out ? limits.time_limit_ms : undefined)
  let result: DuckDBResult
  let typed: readonly TypedColumn[]
  let columns: readonly SqlColumn[]
  try {
    if (limits.signal?.aborted) throw new SqlFailedError('the statement was given up before it began')
    await connection.run('BEGIN TRANSACTION READ ONLY')
    const statement = await prepareReading(connection, sql)
    result = await inStep(statement.stream())
    typed = typedColumns(result)
    columns = typed.map(sqlColumn)
  } catch (cause) {
    await close()
    throw failed(cause)
  }

  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      yield* arrowChunks(
        typed,
        chunksOf(() => (closing === undefined ? inStep(result.fetchChunk()) : Promise.resolve(null))),
      )
    } catch (cause) {
      throw failed(cause)
    } finally {
      await close()
    }
  }
  return { columns, chunks: chunks(), close }
}

async function* chunksOf(next: () => Promise<DuckDBDataChunk | null>): AsyncGenerator<DuckDBDataChunk> {
  for (let chunk = await next(); chunk !== null && chunk.rowCount > 0; chunk = await next()) yield chunk
}

function typedColumns(result: DuckDBResult): TypedColumn[] {
  return result.deduplicatedColumnNames().map((name, at) => ({ name, type: typeOf(result, at, name) }))
}

function typeOf(result: DuckDBResult, at: number, name: string): DuckDBType {
  try {
    return result.columnType(at)
  } catch (cause) {
    throw new SqlRefusedError(
      `the type of the column ${name} is one that no client can read; cast it: value::varchar`,
      {
        cause,
      },
    )
  }
}

function explain(cause: unknown, limit_ms: number | undefined): Error {
  if (cause instanceof SqlRefusedError || cause instanceof SqlFailedError) return cause
  const message = cause instanceof Error ? cause.message : String(cause)
  if (limit_ms !== undefined && /interrupt/i.test(message)) {
    return SqlTimeoutError.after(limit_ms, { cause })
  }
  if (
    /file system operations are disabled|Loading external extensions is disabled|disabled (by|through) configuration/.test(
      message,
    )
  ) {
    return new SqlRefusedError(
      `files, other databases and extensions are out of reach from here; ${REMEDY} over the tables that are loaded. ${message}`,
      { cause },
    )
  }
  if (
    /transaction is launched in read-only mode|attached in read-only mode|configuration has been locked/.test(message)
  ) {
    return new SqlRefusedError(`the statement would change something; ${REMEDY}. ${message}`, { cause })
  }
  return new SqlFailedError(message.replace(/^Failed to extract statements: /, ''), { cause })
}
