import { existsSync, mkdirSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname, parse, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { literal, quoted } from '../../schemas/derive/sql-quoting.ts'
import { damageIn } from './damaged-database.ts'
import { DatabaseBusyError, NoDatabaseError } from './database-errors.ts'
import { readOwner } from './owner-record.ts'
import { findOwner } from './owner-socket.ts'

export interface DatabaseOptions {
  readonly file: string
  readonly access: 'owner' | 'read_only'
  /** The one folder that COPY may reach, for exports. Nothing outside the file is reachable without it. */
  readonly export_dir?: string
  /** DuckDB's notation, e.g. `2GB`; default: a quarter of the host's memory, at least 512 MiB. */
  readonly memory_limit?: string
  /** How much a query may spill to disk, in the same notation. */
  readonly spill_limit?: string
  readonly threads?: number
  /** How long to wait for another process to release the file. */
  readonly wait_ms?: number
  /** Called once when waiting starts. */
  readonly report?: (message: string) => void
}

export interface Database {
  readonly file: string
  connect(): Promise<DuckDBConnection>
  /** Interrupts running statements for up to 2 s, then drops the remaining connections and releases the file. */
  close(): Promise<void>
}

/**
 * Files that this process has open. DuckDB's lock is an fcntl lock, which has no effect within one process: a second
 * instance would open the same file and damage it. For the same reason nothing here opens the file itself: closing any
 * descriptor of it would release the lock.
 */
const openHere = new Set<string>()
const RETRY_MS = 100
const LONGEST_CLOSE_MS = 2000
/**
 * Loading pauses during a checkpoint. Rows that are not checkpointed yet stay in memory, and are replayed after a kill.
 */
const CHECKPOINT_THRESHOLD = '16MB'
/**
 * A checkpoint rewrites the last row group of every table unless it is full. With DuckDB's default of 122,880 rows that
 * is most of the data and takes up to a second; with this size it is what one or two passes loaded.
 */
const ROW_GROUP_SIZE = 16_384
/** With an older storage version, a checkpoint copies every index into the old format. */
const STORAGE_VERSION = 'v1.4.0'
/** Names of DuckDB's built-in databases. */
const TAKEN_NAMES = ['memory', 'system', 'temp']

/**
 * Opens the file and locks the configuration: no connection can ever reach another file (outside `export_dir`) or load
 * an extension.
 *
 * @throws DatabaseBusyError when the file stays locked for `wait_ms`; at once when this process has it open or, for
 * access `owner`, another owner is alive.
 * @throws NoDatabaseError for `read_only` when the file does not exist; DatabaseDamagedError when it is damaged or not
 * a DuckDB file.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const file = resolve(options.file)
  if (openHere.has(file)) {
    throw new DatabaseBusyError(
      `${file} is already open in this process (pid ${process.pid}); close it there first`,
      process.pid,
    )
  }
  if (TAKEN_NAMES.includes(databaseName(file).toLowerCase())) {
    throw new Error(`${file}: DuckDB has a database of that name already; name the file otherwise`)
  }
  if (options.access === 'read_only' && !existsSync(file)) {
    throw new NoDatabaseError(`${file} does not exist: nothing has been loaded yet; run: plumbline run`)
  }
  openHere.add(file)
  try {
    mkdirSync(dirname(file), { recursive: true })
    const instance = await openPatiently(file, options)
    return new OpenDatabase(file, instance)
  } catch (cause) {
    openHere.delete(file)
    throw cause
  }
}

class OpenDatabase implements Database {
  readonly file: string
  readonly #instance: DuckDBInstance
  /** An open connection keeps the instance alive after `close`, and with it the file's lock. */
  readonly #connections = new Set<DuckDBConnection>()
  #closed = false

  constructor(file: string, instance: DuckDBInstance) {
    this.file = file
    this.#instance = instance
  }

  async connect(): Promise<DuckDBConnection> {
    if (this.#closed) throw new Error(`${this.file} is closed`)
    const connection = await this.#instance.connect()
    const disconnect = connection.disconnectSync.bind(connection)
    connection.disconnectSync = () => {
      this.#connections.delete(connection)
      disconnect()
    }
    this.#connections.add(connection)
    await connection.run(`USE ${quoted(databaseName(this.file))}`)
    return connection
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (let waited = 0; this.#connections.size > 0 && waited < LONGEST_CLOSE_MS; waited += 10) {
      for (const connection of this.#connections) connection.interrupt()
      await wait(10)
    }
    for (const connection of this.#connections) connection.disconnectSync()
    this.#instance.closeSync()
    openHere.delete(this.file)
  }
}

async function openPatiently(file: string, options: DatabaseOptions): Promise<DuckDBInstance> {
  const patience = options.wait_ms ?? 30_000
  let waited = 0
  for (;;) {
    try {
      return await openLocked(file, options)
    } catch (cause) {
      const holder = holderOf(cause)
      if (holder === undefined) throw cause
      // The lock's PID may be from another container, so ask the owner for its own.
      const owner = options.access === 'owner' ? await findOwner(file) : undefined
      if (owner !== undefined) {
        throw new DatabaseBusyError(
          `${file} is owned by process ${owner.started_by}, which has loaded it since ${owner.since}; stop that one (kill ${owner.started_by}), or give this one another --data folder`,
          owner.started_by,
          { cause },
        )
      }
      const who = holderText(file, holder.pid)
      if (waited >= patience) {
        throw new DatabaseBusyError(
          `${file} was still held by ${who} after ${patience / 1000} s; let it finish or stop it, then try again`,
          holder.pid,
          { cause },
        )
      }
      if (waited === 0) options.report?.(`${who} has ${file} open; waiting for it to finish`)
      await wait(RETRY_MS)
      waited += RETRY_MS
    }
  }
}

/** The PID is from DuckDB's lock; the note `<file>.owner` names the process that started it. */
function holderText(file: string, pid: number | undefined): string {
  if (pid === undefined) return 'another process'
  const noted = readOwner(file)
  const by = noted?.pid === pid && noted.started_by !== pid ? `, which process ${noted.started_by} started` : ''
  return `process ${pid}${by}`
}

function holderOf(cause: unknown): { pid: number | undefined } | undefined {
  const message = cause instanceof Error ? cause.message : String(cause)
  if (!/Could not set lock on file|Conflicting lock/.test(message)) return undefined
  const pid = /\(PID (\d+)\)/.exec(message)?.[1]
  return { pid: pid === undefined ? undefined : Number(pid) }
}

/** Attaches the file, since only ATTACH can set the row group size. */
async function openLocked(file: string, options: DatabaseOptions): Promise<DuckDBInstance> {
  const instance = await DuckDBInstance.create(':memory:', {
    temp_directory: `${file}.tmp`,
    memory_limit: options.memory_limit ?? `${Math.max(512, Math.floor(totalmem() / 4 / 2 ** 20))}MiB`,
    max_temp_directory_size: options.spill_limit ?? '16GB',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    checkpoint_threshold: CHECKPOINT_THRESHOLD,
    ...(options.threads === undefined ? {} : { threads: String(options.threads) }),
  })
  const connection = await instance.connect()
  try {
    await connection.run("SET GLOBAL TimeZone = 'UTC'")
    if (options.export_dir !== undefined) {
      await connection.run(`SET allowed_directories = [${literal(`${resolve(options.export_dir)}/`)}]`)
    }
    const how =
      options.access === 'owner'
        ? `ROW_GROUP_SIZE ${ROW_GROUP_SIZE}, STORAGE_VERSION ${literal(STORAGE_VERSION)}`
        : 'READ_ONLY'
    await connection.run(`ATTACH ${literal(file)} AS ${quoted(databaseName(file))} (${how})`)
    await connection.run('SET enable_external_access = false')
    await connection.run('SET lock_configuration = true')
  } catch (cause) {
    instance.closeSync()
    throw damageIn(cause, file) ?? cause
  } finally {
    connection.disconnectSync()
  }
  return instance
}

/** DuckDB's name for the database in a file. */
export const databaseName = (file: string): string => parse(file).name
