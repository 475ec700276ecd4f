/**
 * A process that opens a DuckDB file read-only and answers SQL for the one that started it. So a question runs in its
 * own process without an owner, too, and that process can be killed at any time.
 */
import { answerStarter } from '../../../infra/supervise/answer-starter.ts'
import { type Database, type DatabaseOptions, openDatabase } from '../database.ts'
import { type SqlServer, serveSql } from '../sql-server.ts'
import { tellQuestion, tellStarter } from './messages.ts'

export interface ReaderOptions
  extends Pick<DatabaseOptions, 'file' | 'export_dir' | 'memory_limit' | 'wait_ms' | 'threads'> {
  readonly socket: string
}

let database: Database | undefined
let server: SqlServer | undefined

answerStarter({
  async open(options) {
    const { socket, ...rest } = options as ReaderOptions
    const report = (message: string) => tellStarter({ kind: 'report', message })
    database = await openDatabase({ ...rest, access: 'read_only', report })
    const { file, export_dir } = rest
    const opened = database
    server = await serveSql({
      file,
      socket,
      connect: () => opened.connect(),
      onQuestion: tellQuestion,
      ...(export_dir === undefined ? {} : { export_dir }),
    })
  },
  async close() {
    await server?.close()
    await database?.close()
  },
})
