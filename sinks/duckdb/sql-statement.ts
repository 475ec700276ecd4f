import { type DuckDBConnection, type DuckDBPreparedStatement, type DuckDBResult, StatementType } from '@duckdb/node-api'
import { describeType, type Plain, plainConverter, type SqlResult } from './sql-result.ts'

/**
 * Runs one statement that only reads. The guard is the database's own: a READ ONLY transaction, and an instance
 * without file access whose configuration is locked (`database.ts`). What is checked here is what those two let
 * through, and what deserves a better message than theirs.
 */

/** The statement is not one that `plumbline sql` runs. Nothing was executed. */
export class SqlRefusedError extends Error {
  override readonly name = 'SqlRefusedError'
}
/** The statement took longer than its limit and was interrupted. */
export class SqlTimeoutError extends Error {
  override readonly name = 'SqlTimeoutError'
}
/** DuckDB could not run the statement: syntax, unknown names, types, memory. */
export class SqlFailedError extends Error {
  override readonly name = 'SqlFailedError'
}

export interface SqlLimits {
  readonly time_limit_ms: number
}

/**
 * Functions that change the instance, read raw memory or hide another statement, and which neither the read-only
 * transaction nor the locked configuration stops: `FROM enable_logging(…, storage := 'file')` alone makes every
 * later statement of the instance fail.
 */
const HARMFUL =
  /\b(enable_logging|disable_logging|truncate_duckdb_logs|write_log|enable_profiling|disable_profiling|enable_peg_parser|disable_peg_parser|check_peg_parser|checkpoint|force_checkpoint|arrow_scan|arrow_scan_dumb|seq_scan|query|json_execute_serialized_sql)"?\s*\(/i
const UNICODE_IDENTIFIER = /\bu&"/i

const KIND_NAMES = new Map<number, string>(
  Object.entries(StatementType).flatMap(([name, value]) => (typeof value === 'number' ? [[value, name] as const] : [])),
)
const REMEDY = 'plumbline sql runs one SELECT (or FROM, WITH, VALUES, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) at a time'
const READING = new Set<number>([StatementType.SELECT, StatementType.EXPLAIN])

function withoutComments(sql: string): string {
  return sql.replace(/\/\*[\s\S]*?\*\//g, ' ').replace(/--[^\n]*/g, ' ')
}

async function prepareReading(connection: DuckDBConnection, sql: string): Promise<DuckDBPreparedStatement> {
  const bare = withoutComments(sql)
  if (bare.replace(/;/g, '').trim() === '') throw new SqlRefusedError(`expected a statement, got nothing; ${REMEDY}`)
  const harmful = HARMFUL.exec(sql) ?? HARMFUL.exec(bare)
  if (harmful !== null) {
    throw new SqlRefusedError(`the function ${harmful[1]} is refused: it would change the running database, not ask it`)
  }
  if (UNICODE_IDENTIFIER.test(sql))
    throw new SqlRefusedError('an identifier written as U&"…" is refused; write it plainly')
  const extracted = await connection.extractStatements(sql)
  if (extracted.count !== 1) {
    if (/\bpivot\b/i.test(bare)) {
      throw new SqlRefusedError(
        'a PIVOT that finds its own columns is two statements; list them: PIVOT … ON column IN (…)',
      )
    }
    throw new SqlRefusedError(`expected one statement, got ${extracted.count}; ${REMEDY}`)
  }
  const statement = await extracted.prepare(0)
  if (!READING.has(statement.statementType)) {
    const kind = KIND_NAMES.get(statement.statementType) ?? 'unknown'
    throw new SqlRefusedError(`a statement of kind ${kind} is refused; ${REMEDY}`)
  }
  if (statement.parameterCount > 0) {
    throw new SqlRefusedError(
      'the statement has parameters (? or $name), and nothing gives them values; write the values in',
    )
  }
  return statement
}

/**
 * Takes over `connection`, which nobody else uses, and disconnects it when the result has been read or closed.
 *
 * @throws SqlRefusedError, SqlTimeoutError, SqlFailedError
 */
export async function runStatement(connection: DuckDBConnection, sql: string, limits: SqlLimits): Promise<SqlResult> {
  let timed_out = false
  let closed = false
  const timer = setTimeout(() => {
    timed_out = true
    connection.interrupt()
  }, limits.time_limit_ms)
  const close = async () => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    connection.interrupt()
    await connection.run('ROLLBACK').catch(() => {})
    connection.disconnectSync()
  }
  const failed = (cause: unknown) => explain(cause, timed_out ? limits.time_limit_ms : undefined)
  let result: DuckDBResult
  try {
    await connection.run('BEGIN TRANSACTION READ ONLY')
    const statement = await prepareReading(connection, sql)
    result = await statement.stream()
  } catch (cause) {
    await close()
    throw failed(cause)
  }
  const names = result.deduplicatedColumnNames()
  const types = result.columnTypes().map(describeType)
  const columns = names.map((name, index) => ({ name, type: types[index] as (typeof types)[number] }))
  const converters = types.map(plainConverter)

  async function* read(): AsyncGenerator<Plain[][]> {
    try {
      while (!closed) {
        const chunk = await result.fetchChunk()
        if (chunk === null || chunk.rowCount === 0) return
        const rows: Plain[][] = Array.from({ length: chunk.rowCount }, () => new Array(converters.length).fill(null))
        converters.forEach((convert, column) => {
          chunk.visitColumnValues(column, (value, row) => {
            ;(rows[row] as Plain[])[column] = convert(value)
          })
        })
        yield rows
      }
    } catch (cause) {
      throw failed(cause)
    } finally {
      await close()
    }
  }
  return { columns, batches: read(), close }
}

function explain(cause: unknown, limit_ms: number | undefined): Error {
  if (cause instanceof SqlRefusedError || cause instanceof SqlTimeoutError) return cause
  const message = cause instanceof Error ? cause.message : String(cause)
  if (limit_ms !== undefined && /interrupt/i.test(message)) {
    return new SqlTimeoutError(
      `the statement was interrupted after ${limit_ms / 1000} s; ask for less, or raise the limit`,
      { cause },
    )
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
