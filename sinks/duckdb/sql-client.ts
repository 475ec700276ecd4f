import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { http } from '../../infra/http/node-http.ts'
import { ToldOnce } from '../../infra/told-once.ts'
import type { AsOf } from './as-of.ts'
import { DatabaseBusyError } from './database-errors.ts'
import type { ParquetExport, ParquetRequest } from './export-parquet.ts'
import { readOwner } from './owner-record.ts'
import { findOwner } from './owner-socket.ts'
import { FileReader } from './process/file-reader.ts'
import { SqlEndedError, SqlFailedError, SqlRefusedError, SqlTimeoutError } from './sql-errors.ts'
import { type Frame, framesOf } from './sql-frames.ts'
import { DEFAULT_TIME_LIMIT_MS, type Question, SQL_PATH } from './sql-protocol.ts'
import type { SqlResult } from './sql-result.ts'

export interface SqlClientOptions {
  readonly file: string
  readonly time_limit_ms?: number
  /** Answers every query of the session at these offsets. */
  readonly as_of?: AsOf
  /** Memory limit of the process that reads the file, bytes; an owner has its own. */
  readonly memory?: number | undefined
  /** Export folder if no owner answers; an owner has its own. */
  readonly export_dir?: string
  readonly report?: (message: string) => void
}

export interface SqlSession {
  /** Whether the process that loads answers, or one that reads the file. */
  readonly via: 'owner' | 'file'
  query(sql: string): Promise<SqlResult>
  /** Writes a table as Parquet into a new folder of the export folder; the caller owns that folder. */
  exportParquet(request: ParquetRequest): Promise<ParquetExport>
  close(): Promise<void>
}

/** How long to wait for an owner that is starting or restarting. */
const STARTING_MS = 10_000
const LOOK_AGAIN_MS = 100
/** How soon after the end of a process its cause is known. */
const SOON_MS = 1_500

/**
 * Asks the owner if one runs, otherwise a child process of this session that reads the file. Both give the same answer
 * in the same form.
 *
 * @throws NoDatabaseError when there is no file; DatabaseBusyError when it is locked and no owner answers.
 */
export async function openSql(options: SqlClientOptions): Promise<SqlSession> {
  const { file, time_limit_ms = DEFAULT_TIME_LIMIT_MS, as_of } = options
  const shared = { time_limit_ms, ...(as_of === undefined ? {} : { as_of }) }
  const deadline = performance.now() + STARTING_MS
  // Loads the code that reads the answer while the process that answers starts.
  void import('./sql-arrow-rows.ts')
  const told = new ToldOnce((message) => options.report?.(message))
  const report = (message: string) => told.tell(file, message)
  for (;;) {
    const owner = await findOwner(file)
    if (owner !== undefined) {
      const whyEnded = async () => endOf(file, owner.pid)
      return sessionAt(owner.socket, shared, { via: 'owner', whyEnded, close: async () => {} })
    }
    if (performance.now() < deadline && isStartedAgain(file)) {
      await wait(LOOK_AGAIN_MS)
      continue
    }
    try {
      const reader = await FileReader.open({ ...options, report })
      const whyEnded = () => Promise.race([reader.ended, wait(SOON_MS, undefined)])
      return sessionAt(reader.socket, shared, { via: 'file', whyEnded, close: () => reader.close() })
    } catch (cause) {
      // An owner that has just started holds the lock before it answers.
      if (!(cause instanceof DatabaseBusyError) || performance.now() > deadline) throw cause
    }
  }
}

interface Answering extends Pick<SqlSession, 'via' | 'close'> {
  /** Why the process that was asked has ended, if known. */
  readonly whyEnded: () => Promise<string | undefined>
}

function sessionAt(
  socket: string,
  shared: Pick<Question, 'time_limit_ms' | 'as_of'>,
  { via, whyEnded, close }: Answering,
): SqlSession {
  return {
    via,
    query: (sql) => answerAt(socket, { sql, ...shared }, whyEnded),
    exportParquet: (parquet) => exportedAt(socket, { sql: '', parquet, ...shared }, whyEnded),
    close,
  }
}

/**
 * Whether the noted owner has ended and a live process is restarting it: opening the file now would block that. The
 * starter's PID is a hint: if another process has it now, only time is lost.
 */
function isStartedAgain(file: string): boolean {
  const noted = readOwner(file)
  if (noted?.started_by === undefined || noted.started_by === noted.pid || noted.ended?.pid !== noted.pid) return false
  try {
    return process.kill(noted.started_by, 0)
  } catch {
    return false
  }
}

/** Why an owner ended, as noted by its starter soon after. */
async function endOf(file: string, pid: number): Promise<string | undefined> {
  for (let waited = 0; waited < SOON_MS; waited += LOOK_AGAIN_MS) {
    const ended = readOwner(file)?.ended
    if (ended?.pid === pid) return ended.why
    await wait(LOOK_AGAIN_MS)
  }
  return undefined
}

async function post(socketPath: string, question: Question): Promise<IncomingMessage> {
  const headers = { 'content-type': 'application/json' }
  const asked = http.request({ socketPath, path: SQL_PATH, method: 'POST', headers })
  asked.on('error', () => {}) // after the response has arrived, its reader gets the error
  asked.end(JSON.stringify(question))
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return response
}

/** @throws SqlRefusedError, SqlTimeoutError, SqlFailedError; SqlEndedError if the answer was cut off */
async function answerAt(socket: string, question: Question, whyEnded: Answering['whyEnded']): Promise<SqlResult> {
  const left = new AbortController()
  const frames = framesAt(socket, question, whyEnded, left.signal)
  const first = await frames.next()
  if (first.done || first.value.kind !== 'columns') throw unexpected(first.value)
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const frame of frames) {
      if (frame.kind === 'end') return
      if (frame.kind !== 'arrow') throw unexpected(frame)
      yield frame.bytes
    }
  }
  const { withRows } = await import('./sql-arrow-rows.ts')
  return withRows({ columns: first.value.columns, chunks: chunks(), close: async () => left.abort() })
}

async function exportedAt(socket: string, question: Question, whyEnded: Answering['whyEnded']): Promise<ParquetExport> {
  for await (const frame of framesAt(socket, question, whyEnded)) {
    if (frame.kind !== 'exported') throw unexpected(frame)
    return { rows: frame.rows, folder: frame.folder }
  }
  throw unexpected()
}

/** The frames of an answer up to its end. Stopping early cancels the question. */
async function* framesAt(
  socket: string,
  question: Question,
  whyEnded: Answering['whyEnded'],
  left?: AbortSignal,
): AsyncGenerator<Frame, undefined, undefined> {
  let response: IncomingMessage | undefined
  try {
    const asked = await post(socket, question)
    response = asked
    left?.addEventListener('abort', () => asked.destroy(), { once: true })
    for await (const frame of framesOf(response as AsyncIterable<Uint8Array>)) {
      if (frame.kind === 'error') throw errorOf(frame)
      yield frame
      if (frame.kind === 'end' || frame.kind === 'exported') return
    }
  } catch (cause) {
    if (cause instanceof SqlFailedError || cause instanceof SqlRefusedError || cause instanceof SqlTimeoutError)
      throw cause
    if (left?.aborted) return
    throw new SqlEndedError(await whyEnded())
  } finally {
    response?.destroy()
  }
  if (left?.aborted) return
  throw new SqlEndedError(await whyEnded())
}

const unexpected = (frame?: Frame) =>
  new SqlFailedError(`expected the answer to a question, got ${frame?.kind ?? 'none'}`)

function errorOf({ name, message }: Extract<Frame, { kind: 'error' }>): Error {
  switch (name) {
    case 'SqlRefusedError':
      return new SqlRefusedError(message)
    case 'SqlTimeoutError':
      return new SqlTimeoutError(message)
    default:
      return new SqlFailedError(message)
  }
}
