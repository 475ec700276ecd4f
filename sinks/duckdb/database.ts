import { existsSync, mkdirSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname, parse, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { literal, quoted } from '../../schemas/sql-quoting.ts'
import { readOwner, removeOwner, writeOwner } from './owner-record.ts'

export interface DatabaseOptions {
  readonly file: string
  readonly access: 'owner' | 'read_only'
  /** The one folder that COPY may reach, for exports. Nothing outside the file is reachable without it. */
  readonly export_dir?: string
  /** DuckDB's own notation, e.g. `2GB`; a quarter of the memory of the host when left out. */
  readonly memory_limit?: string
  /** How much a query may spill beside the file. */
  readonly spill_limit?: string
  readonly threads?: number
  /** How long to wait for another process to let go of the file. */
  readonly wait_ms?: number
  /** Told once when waiting starts. */
  readonly report?: (message: string) => void
}

export interface Database {
  readonly file: string
  connect(): Promise<DuckDBConnection>
  /** Interrupts what still runs, and lets go of the file when the last connection has been given back. */
  close(): Promise<void>
}

/** Another process has the file and does not let go. */
export class DatabaseBusyError extends Error {
  override readonly name = 'DatabaseBusyError'
  readonly pid: number | undefined
  constructor(message: string, pid: number | undefined, options?: ErrorOptions) {
    super(message, options)
    this.pid = pid
  }
}
export class NoDatabaseError extends Error {
  override readonly name = 'NoDatabaseError'
}

/**
 * Files that this process has open. DuckDB's lock is an fcntl lock, which does not hold within a process: a second
 * instance on the same file would open, and damage it. For the same reason nothing here opens the file itself:
 * closing any descriptor of it would release the lock.
 */
const openHere = new Set<string>()
const RETRY_MS = 100
const LONGEST_CLOSE_MS = 2000
/** Loading stops for a checkpoint; what is in none yet lies in memory, and is read again when the file is opened after a kill. */
const CHECKPOINT_THRESHOLD = '16MB'
/**
 * A checkpoint writes the last group of rows of every table once more unless it is full. Of DuckDB's own 122,880 rows that
 * is most of what there is, up to a second of it; of these it is what a pass or two have loaded.
 */
const ROW_GROUP_SIZE = 16_384
/** Before this form of the file, a checkpoint makes a copy of every index in the form of old. */
const STORAGE_VERSION = 'v1.4.0'
/** Databases that an instance has of its own. */
const TAKEN_NAMES = ['memory', 'system', 'temp']

/**
 * Opens the file with everything outside it out of reach, for every connection and for good: no other file, no
 * other database, no extension, and the configuration locked.
 *
 * @throws DatabaseBusyError when the file stays locked for `wait_ms`, at once when another owner is alive.
 * @throws NoDatabaseError when it is to be read and does not exist.
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
    if (options.access === 'owner') writeOwner(file, { pid: process.pid })
    return new OpenDatabase(file, instance, options.access)
  } catch (cause) {
    openHere.delete(file)
    throw cause
  }
}

class OpenDatabase implements Database {
  readonly file: string
  readonly #instance: DuckDBInstance
  readonly #access: DatabaseOptions['access']
  /** The instance outlives `close` as long as one of these does, and with it the lock and the file. */
  readonly #connections = new Set<DuckDBConnection>()
  #closed = false

  constructor(file: string, instance: DuckDBInstance, access: DatabaseOptions['access']) {
    this.file = file
    this.#instance = instance
    this.#access = access
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
    if (this.#access === 'owner') removeOwner(this.file)
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
      const owner = readOwner(file)
      if (options.access === 'owner' && owner !== undefined && owner.pid === holder.pid) {
        throw new DatabaseBusyError(
          `${file} is owned by process ${owner.pid}, which loads it already; stop that one (kill ${owner.pid}), or give this one another --data folder`,
          owner.pid,
          { cause },
        )
      }
      const who = holder.pid === undefined ? 'another process' : `process ${holder.pid}`
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

function holderOf(cause: unknown): { pid: number | undefined } | undefined {
  const message = cause instanceof Error ? cause.message : String(cause)
  if (!/Could not set lock on file|Conflicting lock/.test(message)) return undefined
  const pid = /\(PID (\d+)\)/.exec(message)?.[1]
  return { pid: pid === undefined ? undefined : Number(pid) }
}

/** The file's database is attached: only so can DuckDB be told how many rows a group has. */
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
    throw cause
  } finally {
    connection.disconnectSync()
  }
  return instance
}

/** What DuckDB calls the database in a file. */
export const databaseName = (file: string): string => parse(file).name
