import type { DuckDBConnection } from '@duckdb/node-api'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { Retrying } from '../retrying.ts'
import type { LoadedOnce } from '../sink.ts'
import { type UnreadableCounts, UnreadableNews } from '../unreadable-record.ts'
import { damageIn } from './damaged-database.ts'
import { type Database, databaseName, openDatabase } from './database.ts'
import type { CommitStage } from './duckdb-batch.ts'
import { prepareTables } from './event-tables.ts'
import { INTERNAL_SCHEMA, INTERNAL_VERSION, STATE_STAGING } from './internal-schema.ts'
import { CHANGED_GROUPS } from './kept-rows.ts'
import { inTransaction, type Loaded, Loader } from './loader.ts'
import { type SqlServer, serveSql } from './sql-server.ts'
import type { TablesHealth, TablesSink } from './tables-sink.ts'
import { unreadableText } from './unreadable-text.ts'
import { createViews } from './user-views.ts'
import type { View } from './views/view.ts'

export interface DuckDbSinkOptions {
  readonly file: string
  readonly log: Log
  readonly catalogue: readonly EventType[]
  /** Over the tables of these events, in an order in which each may build on those before it. */
  readonly views: readonly View[]
  /** Store of large columns; without it, events that have some are unreadable. */
  readonly blobs?: Blobs
  /** Answer `plumbline sql` on a socket next to the file. */
  readonly serve?: boolean
  readonly sql_time_limit_ms?: number
  /** The process that started this one, reported to clients as the one to stop. */
  readonly started_by?: number
  /** Called when a question begins, with its time limit; the function it returns is called when the question ends. */
  readonly onQuestion?: (time_limit_ms: number) => () => void
  readonly export_dir?: string
  readonly memory_limit?: string
  readonly threads?: number
  /** Bounds of one transaction: encoded bytes as in the log, rows as in memory. */
  readonly batch_bytes?: number
  readonly batch_rows?: number
  /** From how many groups on the rows of a view are stored, see `kept-rows.ts`. */
  readonly kept_from_groups?: number
  /** How long `run` waits before it looks for new records. */
  readonly poll_ms?: number
  /** How long to wait for a reader of the file to finish. */
  readonly wait_ms?: number
  /** Called with messages for a person: waiting, a failure that is being retried. */
  readonly report?: (message: string) => void
  /** Called at each stage of a transaction; for tests that kill the process there. */
  readonly observe?: (stage: CommitStage) => unknown
}

/** The file was made by a version with other internal tables. */
export class DatabaseVersionError extends Error {
  override readonly name = 'DatabaseVersionError'
  readonly retry = 'never'
}

const DEFAULT_BATCH_BYTES = 4 * 2 ** 20
const DEFAULT_BATCH_ROWS = 65_536
const DEFAULT_POLL_MS = 200
/** The subject of messages. */
const WHO = 'the DuckDB sink'

/**
 * Opens the file as its one owner, makes its tables and views fit the catalogue, and answers SQL.
 *
 * @throws DatabaseBusyError naming the process that owns it; DatabaseVersionError.
 */
export async function openDuckDbSink(options: DuckDbSinkOptions): Promise<DuckDbSink> {
  const sink = new DuckDbSink(options)
  await sink.open()
  return sink
}

interface Opened {
  readonly database: Database
  readonly connection: DuckDBConnection
  readonly loader: Loader
}

/** Loads the log into DuckDB: every event in its table exactly once, the funnel exact at every moment. */
export class DuckDbSink implements TablesSink {
  readonly name = 'duckdb'
  readonly unreadableText = unreadableText
  readonly #options: DuckDbSinkOptions
  readonly #retrying: Retrying
  #opening: Promise<Opened> | undefined
  #server: SqlServer | undefined
  readonly #news: UnreadableNews
  #closed = false
  #unreadable: UnreadableCounts = {}
  /** The work that runs now; passes never overlap. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: DuckDbSinkOptions) {
    this.#options = options
    const { poll_ms = DEFAULT_POLL_MS, report } = options
    this.#retrying = new Retrying({ who: WHO, poll_ms, report })
    this.#news = new UnreadableNews(WHO, unreadableText, report)
  }

  async open(): Promise<void> {
    const { file, serve = true, sql_time_limit_ms, export_dir, started_by, onQuestion } = this.#options
    await this.#current()
    if (!serve) return
    try {
      const exports = export_dir === undefined ? {} : { export_dir }
      const limit = sql_time_limit_ms === undefined ? {} : { time_limit_ms: sql_time_limit_ms }
      const told = { ...(started_by && { started_by }), ...(onQuestion && { onQuestion }) }
      this.#server = await serveSql({ file, connect: () => this.connect(), ...limit, ...exports, ...told })
    } catch (cause) {
      await this.close()
      throw cause
    }
  }

  /** The socket that answers SQL, if there is one. */
  get socket(): string | undefined {
    return this.#server?.socket
  }

  /** A new connection; the caller must disconnect it. Not for writing: the sink is the only writer. */
  async connect(): Promise<DuckDBConnection> {
    const { database } = await this.#current()
    try {
      return await database.connect()
    } catch (cause) {
      // A question that ran out of memory may have invalidated the whole instance. Without new records, loading would
      // not notice.
      if (!(cause instanceof Error && cause.message.includes('has been invalidated'))) throw cause
      await this.#inTurn(async () => {
        if ((await this.#current()).database === database) await this.#abandon()
      })
      return (await this.#current()).database.connect()
    }
  }

  /**
   * Loads everything that the log holds when this is called, and publishes the positions of the folds.
   *
   * @throws Error when the log, a blob or the disk failed. Nothing is lost or doubled: call it again.
   */
  loadOnce(signal?: AbortSignal): Promise<Loaded & LoadedOnce> {
    return this.#inTurn(async () => {
      const loaded = await this.#pass('all', signal)
      return { ...loaded, caught_up: (await (await this.#current()).loader.lag()) === 0n }
    })
  }

  async #pass(reread: 'all' | 'when due', signal: AbortSignal | undefined): Promise<Loaded> {
    const { loader } = await this.#current()
    try {
      const loaded = await loader.pass(reread, signal)
      this.#countUnreadable(loader)
      return loaded
    } catch (cause) {
      await this.#recover()
      throw cause
    }
  }

  /** Rereads every unreadable record, and reads no new ones. @throws Error as `loadOnce` */
  reread(): Promise<Loaded> {
    return this.#inTurn(async () => {
      const { loader } = await this.#current()
      const loaded = await loader.reread()
      this.#countUnreadable(loader)
      return loaded
    })
  }

  #countUnreadable({ unreadable }: Loader): void {
    this.#unreadable = unreadable
    this.#news.now(unreadable)
  }

  /**
   * Loads until aborted. A failure (a full disk, an unreachable log) is reported and retried forever, with growing
   * pauses; meanwhile nothing is lost.
   *
   * @throws WrongLogError, DatabaseVersionError and other errors that a retry cannot fix.
   */
  async run(signal: AbortSignal): Promise<void> {
    const pass = async () => (await this.#inTurn(() => this.#pass('when due', signal))).records
    await this.#retrying.run(pass, signal, () => this.#closed)
  }

  /** Why `run` cannot load now, if so; how often it has retried; how many records it cannot read. */
  get health(): TablesHealth {
    const { trouble, retries } = this.#retrying
    return { trouble, retries, unreadable: this.#unreadable }
  }

  /** An upper bound of the records that are not loaded yet. */
  lag(): Promise<bigint> {
    return this.#inTurn(async () => (await this.#current()).loader.lag())
  }

  async close(): Promise<void> {
    await this.#server?.close()
    this.#server = undefined
    await this.#inTurn(async () => {
      await this.#abandon()
      this.#closed = true
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work, work).catch((cause: unknown) => {
      throw this.#inWords(cause)
    })
    this.#turn = turn.catch(() => {})
    return turn
  }

  async #current(): Promise<Opened> {
    if (this.#closed) throw new Error(`${this.#options.file}: the sink is closed`)
    this.#opening ??= this.#openDatabase()
    try {
      return await this.#opening
    } catch (cause) {
      this.#opening = undefined
      throw this.#inWords(cause)
    }
  }

  /** Any statement can find damage, which shows when a block is first read. */
  #inWords(cause: unknown): unknown {
    return damageIn(cause, this.#options.file) ?? cause
  }

  /**
   * After a failure, positions in memory are replaced by the committed ones. If those cannot be read, the instance is
   * dropped, since DuckDB invalidates it when a write meets a full disk: the next use opens the file again.
   */
  async #recover(): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined)
    await opened?.loader.reload().catch(() => this.#abandon())
  }

  async #abandon(): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined)
    this.#opening = undefined
    opened?.connection.disconnectSync()
    await opened?.database.close()
  }

  async #openDatabase(): Promise<Opened> {
    refuseHidingName(this.#options.file, this.#options.catalogue)
    const { file, log, catalogue, views, blobs, export_dir, memory_limit, threads, wait_ms, report, observe } =
      this.#options
    const { kept_from_groups } = this.#options
    const database = await openDatabase({
      file,
      access: 'owner',
      ...(export_dir === undefined ? {} : { export_dir }),
      ...(memory_limit === undefined ? {} : { memory_limit }),
      ...(threads === undefined ? {} : { threads }),
      ...(wait_ms === undefined ? {} : { wait_ms }),
      ...(report === undefined ? {} : { report }),
    })
    let connection: DuckDBConnection | undefined
    try {
      connection = await database.connect()
      await connection.run(`${STATE_STAGING};${CHANGED_GROUPS}`)
      const targets = await prepareAll(connection, this.#options)
      const loader = await Loader.open({
        log,
        vocabulary: catalogueOf(catalogue),
        file,
        connection,
        targets,
        views,
        batch_bytes: this.#options.batch_bytes ?? DEFAULT_BATCH_BYTES,
        batch_rows: this.#options.batch_rows ?? DEFAULT_BATCH_ROWS,
        ...(blobs === undefined ? {} : { blobs }),
        ...(kept_from_groups === undefined ? {} : { kept_from_groups }),
        ...(observe === undefined ? {} : { observe }),
      })
      return { database, connection, loader }
    } catch (cause) {
      connection?.disconnectSync()
      await database.close()
      throw cause
    }
  }
}

async function prepareAll(
  connection: DuckDBConnection,
  { file, catalogue, views }: Pick<DuckDbSinkOptions, 'file' | 'catalogue' | 'views'>,
) {
  let targets: Awaited<ReturnType<typeof prepareTables>> = []
  await inTransaction(connection, async () => {
    await connection.run(INTERNAL_SCHEMA)
    await connection.run("INSERT OR IGNORE INTO internal.meta VALUES ('internal_version', $1)", [INTERNAL_VERSION])
    const made = await connection.runAndReadAll("SELECT value FROM internal.meta WHERE name = 'internal_version'")
    if (made.getRows()[0]?.[0] !== INTERNAL_VERSION) {
      throw new DatabaseVersionError(
        `${file} was made by another version of Plumbline; delete it: everything in it is made again from the log`,
      )
    }
    targets = await prepareTables(connection, catalogue)
    // While tables are rebuilt, the old views stay on the old tables.
    if (!targets.some(({ building }) => building)) await createViews(connection, views, { force: false })
  })
  return targets
}

/** DuckDB names the database after the file, and cannot tell it from a schema of that name. */
function refuseHidingName(file: string, catalogue: readonly EventType[]): void {
  const name = databaseName(file)
  const schemas = ['main', 'internal', ...catalogue.map(({ type }) => type.split('.')[0])]
  if (schemas.includes(name))
    throw new Error(`${file}: ${name} is also the name of a schema in it; name the file otherwise`)
}
