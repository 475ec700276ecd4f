import { resolve } from 'node:path'
import type { Command } from 'commander'
import { duckdbFile, openedBefore, openLogForReading } from '../pipeline/data-folder.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import type { AsOf } from '../sinks/duckdb/as-of.ts'
import { OTHER_LOG } from '../sinks/duckdb/other-log.ts'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import { offsetVector } from './offset-vector.ts'
import { type GlobalOptions, globals, oneOfWords, wholeNumber } from './options.ts'
import { formatRows, SQL_FORMATS, type SqlFormat } from './sql-format.ts'
import { SQL_MEMORY } from './sql-memory.ts'
import { typedTime } from './typed-time.ts'

interface SqlOptions {
  format?: SqlFormat
  limit: number
  width: number
  timeout: number
  asOf?: string
  sqlMemory?: number
}

export function addSql(command: Command): void {
  command
    .option('--format <name>', SQL_FORMATS.join(', '), oneOfWords('format', SQL_FORMATS))
    .option(
      '--limit <rows>',
      'most rows that a table shows; it counts the others',
      wholeNumber('limit', 1, 1_000_000),
      40,
    )
    .option(
      '--width <characters>',
      'most characters that a table shows of a value',
      wholeNumber('width', 2, 1_000_000),
      60,
    )
    .option('--timeout <seconds>', 'give up after this time', wholeNumber('timeout', 1, 86_400), 60)
    .option(...SQL_MEMORY)
    .option(
      '--as-of <offsets|time>',
      'answer as of these offsets or this time: @FILE with the output of lag --json, JSON, or a time',
    )
    .addHelpText(
      'after',
      '\nAll views and tables by column: ./plumbline sql "from docs"; one of them: "describe rewards"\n' +
        'Each event has a table: tower.completions_scored, rollout.group_formed, …; see ./plumbline events\n' +
        '\n--as-of TIME compares the time at which a record was appended, not ce_time. It restores the earlier content of the\n' +
        'tables; to select by event time, use `where ce_time <= …`. Completions that were pending then are pending_unread.\n' +
        '\nExample:\n  ./plumbline sql "select task, outcome, count(*), avg(reward) from rewards group by all order by all"\n',
    )
    .action(async (statement: string, options: SqlOptions, command: Command) => {
      const global = globals(command)
      openedBefore(global)
      const format = options.format ?? (global.json ? 'json' : 'table')
      if (format === 'arrow' && process.stdout.isTTY) {
        throw new UsageError('--format arrow is binary, and standard output is a terminal', 'add > FILE.arrow')
      }
      const as_of = options.asOf === undefined ? {} : { as_of: await asOfTyped(options.asOf, global) }
      await ask(duckdbFile(resolve(global.data)), statement, format, { ...options, ...as_of })
    })
}

async function asOfTyped(text: string, global: GlobalOptions): Promise<AsOf> {
  if (/^\s*[{@]/.test(text)) return offsetVector(text, '--as-of')
  const time_ms = typedTime(text, '--as-of', 'a time, or offsets as `lag --json` prints them (JSON or @FILE)')
  const [{ offsetsAt }, { catalogue }] = await Promise.all([
    import('../infra/runtime/watch/offsets-at.ts'),
    import('../streams/vocabulary.ts'),
  ])
  const log = await openLogForReading(global)
  try {
    return await offsetsAt(log, catalogue, time_ms)
  } finally {
    await log.close()
  }
}

interface AskOptions {
  readonly limit: number
  readonly width: number
  readonly timeout: number
  readonly as_of?: AsOf
  /** Bytes of memory for the process that answers when no run does. */
  readonly sqlMemory?: number
}

/** Runs one statement and streams its result to standard output. */
export async function ask(file: string, statement: string, format: SqlFormat, options: AskOptions): Promise<void> {
  for await (const chunk of answer(file, statement, format, options)) {
    if (!process.stdout.write(chunk)) await new Promise((drained) => process.stdout.once('drain', drained))
  }
}

/** Streams the result of one statement in chunks. */
export async function* answer(
  file: string,
  statement: string,
  format: SqlFormat,
  options: AskOptions,
): AsyncGenerator<string | Uint8Array> {
  const session = await openSql({
    file,
    time_limit_ms: options.timeout * 1_000,
    memory: options.sqlMemory,
    ...(options.as_of === undefined ? {} : { as_of: options.as_of }),
    report: (message) => process.stderr.write(`plumbline: ${message}\n`),
  })
  try {
    await warnOfOtherLog(session)
    const result = await session.query(statement)
    yield* formatRows(result, format, { limit: options.limit, max_width: options.width })
  } finally {
    await session.close()
  }
}

/** Warns when the sink has found that the tables belong to another log and has stopped loading. */
async function warnOfOtherLog(session: Awaited<ReturnType<typeof openSql>>): Promise<void> {
  const { batches } = await session.query(`SELECT value FROM internal.meta WHERE name = '${OTHER_LOG}'`)
  for await (const rows of batches) for (const [why] of rows) process.stderr.write(`plumbline: ${why}\n`)
}
