import { resolve } from 'node:path'
import type { Command } from 'commander'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import { formatRows, SQL_FORMATS, type SqlFormat } from '../sinks/duckdb/sql-format.ts'
import { duckdbFile, openedBefore } from './data-folder.ts'
import { globals, oneOfWords, wholeNumber } from './options.ts'
import { UsageError } from './usage-error.ts'

interface SqlOptions {
  format?: SqlFormat
  limit: number
  width: number
  timeout: number
}

export function addSql(program: Command): void {
  program
    .command('sql <statement>')
    .description('ask one SQL question, while `run` goes on or after it')
    .option('--format <name>', SQL_FORMATS.join(', '), oneOfWords('format', SQL_FORMATS))
    .option(
      '--limit <rows>',
      'rows that a table shows before it counts the rest',
      wholeNumber('limit', 1, 1_000_000),
      40,
    )
    .option(
      '--width <characters>',
      'characters that a table shows of one value',
      wholeNumber('width', 2, 1_000_000),
      60,
    )
    .option('--timeout <seconds>', 'give up after', wholeNumber('timeout', 1, 86_400), 60)
    .addHelpText(
      'after',
      '\nViews: rewards, groups, advantages, funnel. Their columns: ./plumbline sql "describe rewards"\n' +
        'Tables follow the events: tower.completions_scored, rollout.group_formed, …; see ./plumbline events\n' +
        '\nExample:\n  ./plumbline sql "select task, outcome, count(*), avg(reward) from rewards group by all order by all"\n',
    )
    .action(async (statement: string, options: SqlOptions, command: Command) => {
      const global = globals(command)
      openedBefore(global)
      const format = options.format ?? (global.json ? 'json' : 'table')
      if (format === 'arrow' && process.stdout.isTTY) {
        throw new UsageError('--format arrow is binary, and standard output is a terminal', 'add > FILE.arrow')
      }
      await ask(duckdbFile(resolve(global.data)), statement, format, options)
    })
}

interface AskOptions {
  readonly limit: number
  readonly width: number
  readonly timeout: number
}

/** Puts one question and writes the answer to standard output as it comes. */
export async function ask(file: string, statement: string, format: SqlFormat, options: AskOptions): Promise<void> {
  for await (const chunk of answer(file, statement, format, options)) {
    if (!process.stdout.write(chunk)) await new Promise((drained) => process.stdout.once('drain', drained))
  }
}

/** The answer to one question, in pieces, as they come. */
export async function* answer(
  file: string,
  statement: string,
  format: SqlFormat,
  options: AskOptions,
): AsyncGenerator<string | Uint8Array> {
  const session = await openSql({
    file,
    time_limit_ms: options.timeout * 1_000,
    report: (message) => process.stderr.write(`plumbline: ${message}\n`),
  })
  try {
    const result = await session.query(statement)
    yield* formatRows(result, format, { limit: options.limit, max_width: options.width })
  } finally {
    await session.close()
  }
}
