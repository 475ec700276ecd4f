import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { type AsOf, runStatementAsOf } from './as-of.ts'
import { exportParquet, type ParquetRequest } from './export-parquet.ts'
import { writeOwner } from './owner-record.ts'
import type { Plain, SqlColumn } from './sql-result.ts'
import { runStatement, SqlRefusedError } from './sql-statement.ts'

/** One line each of the answer: columns first, then rows, then the end or an error. */
export type AnswerLine =
  | { readonly columns: readonly SqlColumn[] }
  | { readonly rows: readonly Plain[][] }
  | { readonly end: true }
  | { readonly error: { readonly kind: string; readonly message: string } }

export interface Question {
  readonly sql: string
  /** Instead of the statement: a table as Parquet; one row says how many rows, and in which folder. */
  readonly parquet?: ParquetRequest
  /** Answer as of then. */
  readonly as_of?: AsOf
  readonly time_limit_ms?: number
}

export interface SqlServerOptions {
  /** The DuckDB file that is served; the socket's place is recorded beside it. */
  readonly file: string
  readonly connect: () => Promise<DuckDBConnection>
  /** For statements that do not say; and no statement gets more than an hour. */
  readonly time_limit_ms?: number
  readonly max_statements?: number
  /** Where exports may be written; without it there are none. */
  readonly export_dir?: string
}

export interface SqlServer {
  readonly socket: string
  close(): Promise<void>
}

export const DEFAULT_TIME_LIMIT_MS = 60_000
const LONGEST_TIME_LIMIT_MS = 3_600_000
const LONGEST_QUESTION_BYTES = 1 << 20
/** sun_path holds 104 bytes on macOS and 108 on Linux, the final zero included. */
const LONGEST_SOCKET_BYTES = 103

/**
 * Answers SQL on a Unix socket that only this user can open, while the owner loads. Each statement has its own
 * connection and its own read-only snapshot; an answer is streamed as fast as it is read, so its size costs no memory.
 */
export async function serveSql(options: SqlServerOptions): Promise<SqlServer> {
  const limit = options.time_limit_ms ?? DEFAULT_TIME_LIMIT_MS
  const most = options.max_statements ?? 8
  const file = resolve(options.file)
  let running = 0

  const server = createServer(async (request, response) => {
    if (running >= most) {
      return answerError(
        response,
        new SqlRefusedError(`${most} statements run already; try again when one has finished`),
      )
    }
    running += 1
    try {
      await answer(request, response, options, limit)
    } catch (cause) {
      answerError(response, cause)
    } finally {
      running -= 1
    }
  })
  const { socket, folder } = socketFor(file)
  rmSync(socket, { force: true }) // of an owner that was killed: whoever serves holds the file's lock
  const before = process.umask(0o177)
  try {
    server.listen(socket)
  } finally {
    process.umask(before)
  }
  await once(server, 'listening')
  chmodSync(socket, 0o600)
  writeOwner(file, { pid: process.pid, socket })
  return {
    socket,
    async close() {
      await stop(server)
      rmSync(folder ?? socket, { recursive: true, force: true })
    },
  }
}

/** `duckdb.sock` beside the file, or in a folder of its own under the temporary one when that path is too long. */
function socketFor(file: string): { socket: string; folder?: string } {
  const beside = join(dirname(file), 'duckdb.sock')
  if (Buffer.byteLength(beside) <= LONGEST_SOCKET_BYTES) return { socket: beside }
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-'))
  const socket = join(folder, 'duckdb.sock')
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_BYTES) {
    throw new Error(`${socket}: a socket's path may have ${LONGEST_SOCKET_BYTES} bytes; set TMPDIR to a shorter folder`)
  }
  return { socket, folder }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { connect, export_dir }: Pick<SqlServerOptions, 'connect' | 'export_dir'>,
  limit: number,
): Promise<void> {
  const question = await readQuestion(request)
  const time_limit_ms = Math.min(question.time_limit_ms ?? limit, LONGEST_TIME_LIMIT_MS)
  const { sql, as_of, parquet } = question
  if (parquet !== undefined) {
    if (export_dir === undefined)
      throw new SqlRefusedError('the process that has the tables open exports nothing; stop it, and export then')
    const { rows, folder } = await exportParquet(await connect(), parquet, export_dir, time_limit_ms)
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    const lines: AnswerLine[] = [
      {
        columns: [
          { name: 'rows', type: { name: 'INTEGER' } },
          { name: 'folder', type: { name: 'VARCHAR' } },
        ],
      },
      { rows: [[rows, folder]] },
      { end: true },
    ]
    response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    return
  }
  const result =
    as_of === undefined
      ? await runStatement(await connect(), sql, { time_limit_ms })
      : await runStatementAsOf(connect, sql, as_of, { time_limit_ms })
  const gone = new AbortController()
  response.on('close', () => {
    gone.abort()
    if (!response.writableEnded) void result.close()
  })
  response.writeHead(200, { 'content-type': 'application/x-ndjson' })
  const write = async (line: AnswerLine) => {
    if (!response.write(`${JSON.stringify(line)}\n`)) await once(response, 'drain', { signal: gone.signal })
  }
  try {
    await write({ columns: result.columns })
    for await (const rows of result.batches) {
      if (gone.signal.aborted) return
      await write({ rows })
    }
    response.end(`${JSON.stringify({ end: true } satisfies AnswerLine)}\n`)
  } finally {
    await result.close()
  }
}

async function readQuestion(request: IncomingMessage): Promise<Question> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > LONGEST_QUESTION_BYTES)
      throw new SqlRefusedError(`a statement may have ${LONGEST_QUESTION_BYTES} bytes`)
    parts.push(part)
  }
  const question = JSON.parse(Buffer.concat(parts).toString('utf8')) as Question
  if (typeof question.sql !== 'string') throw new SqlRefusedError('expected {"sql": "…"}')
  return question
}

function answerError(response: ServerResponse, cause: unknown): void {
  if (response.writableEnded || response.destroyed) return
  const { name, message } = cause instanceof Error ? cause : new Error(String(cause))
  response.end(`${JSON.stringify({ error: { kind: name, message } } satisfies AnswerLine)}\n`)
}

async function stop(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}
