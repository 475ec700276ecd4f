import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { type Database, openDatabase } from '../../sinks/duckdb/database.ts'
import { KeptRows, keptOf } from '../../sinks/duckdb/kept-rows.ts'
import { openSql } from '../../sinks/duckdb/sql-client.ts'
import { type SqlServer, serveSql } from '../../sinks/duckdb/sql-server.ts'
import { type TablesReport, verifyTables } from '../../sinks/duckdb/verify-tables.ts'
import type { RecordedFolder } from './recorded-folder.ts'

let copies = 0

/** A copy of a folder's tables, with all rewards kept, served as by an owner, to change and compare with the log. */
export class ChangedTables {
  readonly connection: DuckDBConnection
  readonly #recorded: RecordedFolder
  readonly #file: string
  readonly #database: Database
  readonly #server: SqlServer

  private constructor(
    recorded: RecordedFolder,
    file: string,
    database: Database,
    server: SqlServer,
    connection: DuckDBConnection,
  ) {
    this.#recorded = recorded
    this.#file = file
    this.#database = database
    this.#server = server
    this.connection = connection
  }

  static async open(recorded: RecordedFolder): Promise<ChangedTables> {
    const file = join(recorded.folder.dir, `changed-${copies++}.duckdb`)
    await copyFile(recorded.folder.duckdb_file, file)
    const database = await openDatabase({ file, access: 'owner' })
    const server = await serveSql({ file, connect: () => database.connect() })
    const connection = await database.connect()
    for (const view of keptOf(recorded.wiring.views)) await new KeptRows(connection, view, 1).keep(true)
    return new ChangedTables(recorded, file, database, server, connection)
  }

  async run(...statements: readonly string[]): Promise<void> {
    for (const statement of statements) await this.connection.run(statement)
  }

  /** @param only these events; undefined: all */
  async verify(only?: readonly string[]): Promise<TablesReport> {
    const { folder, wiring } = this.#recorded
    const { events, views, partitions } = wiring
    const session = await openSql({ file: this.#file })
    try {
      const some = events.filter(({ type }) => only === undefined || only.includes(type))
      const { log, blobs } = folder
      return await verifyTables({
        session,
        log,
        blobs,
        vocabulary: catalogueOf(events),
        partitions,
        events: some,
        views,
      })
    } finally {
      await session.close()
    }
  }

  async close(): Promise<void> {
    this.connection.disconnectSync()
    await this.#server.close()
    await this.#database.close()
  }
}
