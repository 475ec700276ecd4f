/**
 * A process that a damaged DuckDB file may end. Each line names a file, and the log to load on from; the answer is what
 * the tables have then, or the error.
 */
import { createInterface } from 'node:readline'
import type { DuckDBConnection } from '@duckdb/node-api'
import { openLmdbLog } from '../../../infra/log/lmdb/lmdb-log.ts'
import { damageIn } from '../../../sinks/duckdb/damaged-database.ts'
import { openDatabase } from '../../../sinks/duckdb/database.ts'
import { openDuckDbSink } from '../../../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { type TablesAnswer, tablesAnswer } from './tables-answer.ts'

export interface TablesQuestion {
  readonly file: string
  /** The log's folder; without it, nothing is loaded. */
  readonly log?: string
}

export interface TablesRead {
  /** The error's name, if there was one. */
  readonly error?: string
  readonly message?: string
  /** Whether the log was loaded to its end. */
  readonly loaded: boolean
  readonly answer?: TablesAnswer
}

const ask = async (connection: DuckDBConnection) => {
  try {
    return await tablesAnswer(async (sql) => (await connection.runAndReadAll(sql)).getRowsJson())
  } finally {
    connection.disconnectSync()
  }
}

async function answer({ file, log: dir }: TablesQuestion): Promise<TablesRead> {
  let loaded = false
  try {
    if (dir === undefined) {
      const database = await openDatabase({ file, access: 'read_only', threads: 1 })
      try {
        return { loaded, answer: await ask(await database.connect()) }
      } finally {
        await database.close()
      }
    }
    const log = await openLmdbLog({ dir, access: 'read' })
    try {
      const sink = await openDuckDbSink({ file, log, catalogue, views, serve: false, threads: 1 })
      try {
        while (!(await sink.loadOnce()).caught_up);
        loaded = true
        return { loaded, answer: await ask(await sink.connect()) }
      } finally {
        await sink.close()
      }
    } finally {
      await log.close()
    }
  } catch (cause) {
    // As the process that answers questions does.
    const { name, message } = damageIn(cause, file) ?? (cause as Error)
    return { loaded, error: name, message }
  }
}

for await (const line of createInterface(process.stdin)) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`)
}
