import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { runStatementAsOf } from './as-of.ts'
import { exportParquet } from './export-parquet.ts'
import { SqlRefusedError, SqlTimeoutError } from './sql-errors.ts'
import { type Frame, frameParts } from './sql-frames.ts'
import type { Place } from './sql-places.ts'
import type { Question } from './sql-protocol.ts'
import type { ArrowResult } from './sql-result.ts'
import { runStatement, type SqlLimits } from './sql-statement.ts'

export interface AnswerOptions {
  readonly connect: () => Promise<DuckDBConnection>
  readonly export_dir?: string
  /** Called when a question begins, with its time limit; the function it returns is called when the question ends. */
  readonly onQuestion?: (time_limit_ms: number) => () => void
}

/** A question that still runs this long after its limit gets an error instead of the rest of its answer. */
const LATE_MS = 1_000
/** A client that does not read the error in this time is cut off. */
const UNREAD_MS = 5_000
/** Size of one write. Between two writes it shows whether the client reads. */
const PIECE_BYTES = 64 * 1024

/**
 * Writes the answer to one question as fast as the client reads it; at most one batch of it is in memory.
 *
 * @throws Error from DuckDB or the guard; what was written by then is not the whole answer
 */
export async function answerQuestion(
  question: Question,
  response: ServerResponse,
  options: AnswerOptions,
  time_limit_ms: number,
  place: Place,
): Promise<void> {
  const ended = options.onQuestion?.(time_limit_ms)
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  if (response.destroyed) gone.abort()
  const late = setTimeout(() => {
    answerError(response, SqlTimeoutError.after(time_limit_ms))
    gone.abort()
    setTimeout(() => response.destroy(), UNREAD_MS).unref()
  }, time_limit_ms + LATE_MS)
  try {
    if (question.parquet === undefined) {
      const result = await resultOf(question, options, { time_limit_ms, signal: gone.signal })
      await writeResult(result, response, gone.signal, place)
    } else await exportTable(question, response, options, time_limit_ms)
  } finally {
    clearTimeout(late)
    ended?.()
  }
}

async function exportTable(
  { parquet }: Question,
  response: ServerResponse,
  { connect, export_dir }: AnswerOptions,
  time_limit_ms: number,
): Promise<void> {
  if (parquet === undefined || export_dir === undefined)
    throw new SqlRefusedError('the process that has the tables open exports nothing; stop it, and export then')
  const { rows, folder } = await exportParquet(await connect(), parquet, export_dir, time_limit_ms)
  response.end(Buffer.concat(frameParts({ kind: 'exported', rows, folder })))
}

async function resultOf({ sql, as_of }: Question, { connect }: AnswerOptions, limits: SqlLimits): Promise<ArrowResult> {
  return as_of === undefined ? runStatement(await connect(), sql, limits) : answerAsOf(connect, sql, as_of, limits)
}

/** Imported on first use, since it needs the text of every view. */
const answerAsOf: typeof runStatementAsOf = async (...asked) => (await import('./as-of.ts')).runStatementAsOf(...asked)

async function writeResult(
  result: ArrowResult,
  response: ServerResponse,
  gone: AbortSignal,
  place: Place,
): Promise<void> {
  gone.addEventListener('abort', () => void result.close(), { once: true })
  if (gone.aborted) return void result.close()
  const write = async (frame: Frame) => {
    for (const part of frameParts(frame)) {
      for (let at = 0; at < part.length; at += PIECE_BYTES) {
        if (gone.aborted) return
        if (response.write(part.subarray(at, at + PIECE_BYTES))) continue
        await place.unread(once(response, 'drain', { signal: gone }))
      }
    }
  }
  try {
    await write({ kind: 'columns', columns: result.columns })
    for await (const bytes of result.chunks) {
      if (gone.aborted) return
      await write({ kind: 'arrow', bytes })
    }
    response.end(Buffer.concat(frameParts({ kind: 'end' })))
  } finally {
    await result.close()
  }
}

export function answerError(response: ServerResponse, cause: unknown): void {
  if (response.writableEnded || response.destroyed) return
  const { name, message } = cause instanceof Error ? cause : new Error(String(cause))
  response.end(Buffer.concat(frameParts({ kind: 'error', name, message })))
}
