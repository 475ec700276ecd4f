import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { type AsOf, runStatementAsOf } from './as-of.ts'
import { type Database, DatabaseBusyError, openDatabase } from './database.ts'
import { exportParquet, type ParquetExport, type ParquetRequest } from './export-parquet.ts'
import { readOwner } from './owner-record.ts'
import type { Plain, SqlColumn, SqlResult } from './sql-result.ts'
import { type AnswerLine, DEFAULT_TIME_LIMIT_MS, type Question } from './sql-server.ts'
import { runStatement, SqlFailedError, SqlRefusedError, SqlTimeoutError } from './sql-statement.ts'

export interface SqlClientOptions {
  readonly file: string
  readonly time_limit_ms?: number
  /** Every answer of the session as of then. */
  readonly as_of?: AsOf
  /** For the file; the owner has its own. */
  readonly memory_limit?: string
  /** Where an export may be written when the file answers; the owner has its own. */
  readonly export_dir?: string
  readonly report?: (message: string) => void
}

export interface SqlSession {
  /** Who answers: the process that loads, or the file itself. */
  readonly via: 'owner' | 'file'
  query(sql: string): Promise<SqlResult>
  /** Writes a table as Parquet into a new folder of the export folder, which is then the caller's. */
  exportParquet(request: ParquetRequest): Promise<ParquetExport>
  close(): Promise<void>
}

/**
 * Asks the owner while one runs, and the file when none does. Both give the same answer in the same form.
 *
 * @throws NoDatabaseError when there is no file; DatabaseBusyError when it is locked and nobody answers.
 */
export async function openSql(options: SqlClientOptions): Promise<SqlSession> {
  const limit = options.time_limit_ms ?? DEFAULT_TIME_LIMIT_MS
  const deadline = performance.now() + 10_000
  for (;;) {
    const socket = readOwner(options.file)?.socket
    if (socket !== undefined && (await answers(socket))) {
      const shared = { time_limit_ms: limit, ...(options.as_of === undefined ? {} : { as_of: options.as_of }) }
      return {
        via: 'owner',
        query: (sql) => askOwner(socket, { sql, ...shared }),
        exportParquet: async (parquet) => exportedBy(await askOwner(socket, { sql: '', parquet, ...shared })),
        close: async () => {},
      }
    }
    try {
      return sessionOnFile(await openFile(options), limit, options)
    } catch (cause) {
      // An owner that has just started holds the lock before it answers.
      if (!(cause instanceof DatabaseBusyError) || performance.now() > deadline) throw cause
    }
  }
}

function openFile({ file, memory_limit, export_dir, report }: SqlClientOptions): Promise<Database> {
  return openDatabase({
    file,
    access: 'read_only',
    wait_ms: 500,
    ...(memory_limit === undefined ? {} : { memory_limit }),
    ...(export_dir === undefined ? {} : { export_dir }),
    ...(report === undefined ? {} : { report }),
  })
}

function sessionOnFile(database: Database, time_limit_ms: number, { as_of, export_dir }: SqlClientOptions): SqlSession {
  return {
    via: 'file',
    query: async (sql) =>
      as_of === undefined
        ? runStatement(await database.connect(), sql, { time_limit_ms })
        : runStatementAsOf(() => database.connect(), sql, as_of, { time_limit_ms }),
    exportParquet: async (request) => {
      if (export_dir === undefined) throw new SqlRefusedError('this session was opened without a folder for exports')
      return exportParquet(await database.connect(), request, export_dir, time_limit_ms)
    },
    close: () => database.close(),
  }
}

async function exportedBy({ batches }: SqlResult): Promise<ParquetExport> {
  for await (const [row] of batches) if (row !== undefined) return { rows: Number(row[0]), folder: String(row[1]) }
  throw endedEarly()
}

/** An owner that is stopped still takes connections, and never answers. */
const ANSWER_MS = 5_000

async function answers(socketPath: string): Promise<boolean> {
  try {
    const lines = await post(socketPath, { sql: 'SELECT 1', time_limit_ms: 1000 }, AbortSignal.timeout(ANSWER_MS))
    lines.destroy()
    return true
  } catch {
    return false
  }
}

async function post(socketPath: string, question: Question, signal?: AbortSignal): Promise<IncomingMessage> {
  const headers = { 'content-type': 'application/json' }
  const asked = request({
    socketPath,
    path: '/sql',
    method: 'POST',
    headers,
    ...(signal === undefined ? {} : { signal }),
  })
  asked.on('error', () => {}) // after the response has come, its reader sees what went wrong
  asked.end(JSON.stringify(question))
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return response
}

async function askOwner(socket: string, question: Question): Promise<SqlResult> {
  const response = await post(socket, question)
  const lines = answerLines(response)
  const first = await lines.next()
  if (first.done || !('columns' in first.value)) {
    response.destroy()
    throw first.done ? endedEarly() : errorOf(first.value)
  }
  const columns: readonly SqlColumn[] = first.value.columns
  async function* batches(): AsyncGenerator<readonly Plain[][]> {
    try {
      for await (const line of lines) {
        if ('rows' in line) yield line.rows
        else if ('end' in line) return
        else throw errorOf(line)
      }
      throw endedEarly()
    } finally {
      response.destroy()
    }
  }
  return { columns, batches: batches(), close: async () => void response.destroy() }
}

async function* answerLines(response: IncomingMessage): AsyncGenerator<AnswerLine> {
  let rest = ''
  response.setEncoding('utf8')
  try {
    for await (const part of response as AsyncIterable<string>) {
      const lines = (rest + part).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) yield JSON.parse(line) as AnswerLine
    }
  } catch (cause) {
    throw endedEarly({ cause })
  }
}

const endedEarly = (options?: ErrorOptions) =>
  new SqlFailedError('the owner of the database stopped before the answer was complete; ask again', options)

function errorOf(line: AnswerLine): Error {
  if (!('error' in line)) return endedEarly()
  const { kind, message } = line.error
  switch (kind) {
    case 'SqlRefusedError':
      return new SqlRefusedError(message)
    case 'SqlTimeoutError':
      return new SqlTimeoutError(message)
    default:
      return new SqlFailedError(message)
  }
}
