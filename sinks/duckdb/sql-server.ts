import { once } from 'node:events'
import { chmodSync, rmSync, statSync } from 'node:fs'
import type { IncomingMessage, Server } from 'node:http'
import { resolve } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { http } from '../../infra/http/node-http.ts'
import { damageIn } from './damaged-database.ts'
import { removeOwner, writeOwner } from './owner-record.ts'
import { inodeOf, socketOf } from './owner-socket.ts'
import { answerError, answerQuestion } from './sql-answer.ts'
import { SqlRefusedError } from './sql-errors.ts'
import { Places } from './sql-places.ts'
import { DEFAULT_TIME_LIMIT_MS, OWNER_PATH, type Owner, PROTOCOL, type Question } from './sql-protocol.ts'

export interface SqlServerOptions {
  /** The DuckDB file that is served. */
  readonly file: string
  /** A private socket, instead of the one where clients look for the owner of the file. */
  readonly socket?: string
  /** The process that started this one; it is to be stopped instead of this one. */
  readonly started_by?: number
  /** Called when a question begins, with its time limit; the function it returns is called when the question ends. */
  readonly onQuestion?: (time_limit_ms: number) => () => void
  readonly connect: () => Promise<DuckDBConnection>
  /** For statements that set no limit; no statement gets more than an hour. */
  readonly time_limit_ms?: number
  readonly max_statements?: number
  /** Where exports may be written; without it, exports are refused. */
  readonly export_dir?: string
}

export interface SqlServer {
  readonly socket: string
  close(): Promise<void>
}

const LONGEST_TIME_LIMIT_MS = 3_600_000
const LONGEST_QUESTION_BYTES = 1 << 20
/** How long a question may take to arrive. */
const ASKING = { requestTimeout: 10_000, headersTimeout: 10_000, connectionsCheckingInterval: 2_000 }
const MOST_CONNECTIONS = 256

/**
 * Answers SQL on a Unix socket while the owner loads, for users who may read the file. Each statement has its own
 * connection and its own read-only snapshot. An answer is streamed as fast as it is read, so its size costs no memory.
 */
export async function serveSql(options: SqlServerOptions): Promise<SqlServer> {
  const limit = options.time_limit_ms ?? DEFAULT_TIME_LIMIT_MS
  const most = options.max_statements ?? 8
  const file = resolve(options.file)
  const places = new Places({ most })

  const server = http.createServer(ASKING, async (request, response) => {
    try {
      if (request.url === OWNER_PATH) return void response.end(JSON.stringify(owner))
      const question = await readQuestion(request)
      const place = await places.take(() => response.destroy())
      try {
        await answerQuestion(question, response, options, limitOf(question, limit), place)
      } finally {
        place.leave()
      }
    } catch (cause) {
      answerError(response, damageIn(cause, file) ?? cause)
    }
  })
  server.maxConnections = MOST_CONNECTIONS
  const { socket = socketOf(file), started_by = process.pid } = options
  const inode = inodeOf(file) ?? 0
  const owner: Owner = { protocol: PROTOCOL, pid: process.pid, started_by, since: new Date().toISOString(), inode }
  rmSync(socket, { force: true }) // left by a killed owner: this process holds the file's lock
  const before = process.umask(0o177)
  try {
    server.listen(socket)
  } finally {
    process.umask(before)
  }
  await once(server, 'listening')
  chmodSync(socket, 0o600 | askersOf(file))
  if (options.socket === undefined) writeOwner(file, { pid: process.pid, started_by, socket })
  return {
    socket,
    async close() {
      await stop(server)
      rmSync(socket, { force: true })
      if (options.socket === undefined) removeOwner(file)
    },
  }
}

/** Connecting needs write permission on the socket: grant it to those who may read the file. */
function askersOf(file: string): number {
  const readers = (statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o044
  return readers | (readers >> 1)
}

function limitOf({ time_limit_ms: asked }: Question, limit: number): number {
  return Math.min(typeof asked === 'number' && asked > 0 ? asked : limit, LONGEST_TIME_LIMIT_MS)
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
  const question = parsed(Buffer.concat(parts).toString('utf8'))
  if (typeof question?.sql !== 'string') throw new SqlRefusedError('expected {"sql": "…"}')
  return question
}

function parsed(text: string): Question | null | undefined {
  try {
    return JSON.parse(text) as Question | null
  } catch {
    return undefined
  }
}

async function stop(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}
