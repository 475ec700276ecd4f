import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import type { Blobs } from '../infra/blobs/blobs.ts'
import { type Log, LogReadOnlyError } from '../infra/log/port/log.ts'
import { makeFolder } from '../infra/make-folder.ts'
import { type BlobsPlace, blobsOf } from './blob-stores.ts'
import { UsageError } from './usage-error.ts'

/** Raised when the contents of a data folder change in a way that an older program would misread. */
const FORMAT = 1

export interface DataFolder {
  readonly dir: string
  readonly log: Log
  /** The log was opened for reading only. */
  readonly read_only?: boolean
  readonly blobs: Blobs
  readonly duckdb_file: string
  /** Options with which another process opens the same folder. */
  readonly place: DataOptions
  close(): Promise<void>
}

export interface DataOptions extends BlobsPlace {
  readonly log?: string
  /** New files get the permissions that the umask leaves; the folder remembers it. */
  readonly shared?: boolean
}

export interface Opening {
  /** Creates the folder if it does not exist. */
  readonly create: boolean
  /** Opens the log for reading if it cannot be opened for writing. */
  readonly or_read?: boolean
}

/**
 * Opens the folder that holds everything of one pipeline.
 *
 * @throws UsageError when it was written by a newer program, or the log address is not supported.
 */
export async function openDataFolder(options: DataOptions, { create, or_read }: Opening): Promise<DataFolder> {
  const dir = resolve(options.data)
  // A log outside the folder may have data although this host has no data folder yet.
  if (create || options.log !== undefined) createFolder(dir, options.shared)
  openedBefore(options)
  const address = options.log ?? `lmdb:${join(dir, 'log')}`
  let read_only = false
  const log = await openLog(address).catch((error: unknown) => {
    if (!or_read || !(error instanceof LogReadOnlyError)) throw error
    read_only = true
    return openLog(address, 'read')
  })
  return {
    dir,
    log,
    read_only,
    blobs: blobsOf(options),
    duckdb_file: duckdbFile(dir),
    place: placeOf(options, dir),
    close: () => log.close(),
  }
}

function placeOf({ log, blobs }: DataOptions, data: string): DataOptions {
  return { data, ...(log === undefined ? {} : { log }), ...(blobs === undefined ? {} : { blobs }) }
}

/** Creates the folder if absent, for commands that open neither log nor blobs. @throws UsageError as above */
export function makeDataFolder(options: DataOptions): void {
  createFolder(resolve(options.data), options.shared)
  openedBefore(options)
}

export const duckdbFile = (dir: string) => join(dir, 'plumbline.duckdb')

/** @throws UsageError when nothing was ever written to this folder, or by a newer program. */
export function openedBefore(options: DataOptions): void {
  const dir = resolve(options.data)
  if (!canSee(formatFile(dir))) {
    throw new UsageError(
      `${dir} holds no Plumbline data`,
      'run `./plumbline generate tower …` or `./plumbline demo` first, or name another folder with --data',
    )
  }
  checkFormat(formatFile(dir))
}

/** @throws UsageError when this user has no permission to read the folder */
function canSee(file: string): boolean {
  try {
    accessSync(file, constants.R_OK)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') return false
    throw new UsageError(
      `${dirname(file)}: expected a data folder that this user may read, found another user's`,
      'its owner can share it (./plumbline --shared … makes new files readable; chmod -R g+rX for those that are there), or name another with --data',
    )
  }
}

/** Exports are written here before they are moved to their target. */
export const exportFolder = (dir: string) => join(dir, '.exports')

const formatFile = (dir: string) => join(dir, 'plumbline.json')

/** Whether the folder was ever used with --shared. */
export function isShared(data: string): boolean {
  try {
    const { shared } = JSON.parse(readFileSync(formatFile(resolve(data)), 'utf8')) as { shared?: unknown }
    return shared === true
  } catch {
    return false
  }
}

function createFolder(dir: string, shared = false): void {
  makeFolder(dir)
  if (existsSync(formatFile(dir))) {
    checkFormat(formatFile(dir))
    if (!shared || isShared(dir)) return
  }
  writeFileSync(formatFile(dir), `${JSON.stringify({ format: FORMAT, ...(shared ? { shared } : {}) })}\n`)
}

function checkFormat(file: string): void {
  const text = readFileSync(file, 'utf8')
  const format = formatOf(text)
  if (format === undefined) {
    throw new UsageError(
      `${file}: expected {"format":${FORMAT}}, got ${text.trim().slice(0, 60) || 'nothing'}`,
      'the file is damaged, or this is not a Plumbline folder: restore it, or name another folder with --data',
    )
  }
  if (format > FORMAT) {
    throw new UsageError(
      `${file}: expected format ${FORMAT} or older, got ${format}: a newer Plumbline wrote it`,
      'use that version, or another folder with --data',
    )
  }
}

function formatOf(text: string): number | undefined {
  try {
    const { format } = JSON.parse(text) as { format?: unknown }
    return typeof format === 'number' ? format : undefined
  } catch {
    return undefined
  }
}

/** Opens a data folder's log for reading only, which needs neither the write lock nor permission to write. */
export async function openLogForReading(options: DataOptions): Promise<Log> {
  if (options.log === undefined || existsSync(formatFile(resolve(options.data)))) openedBefore(options)
  return openLog(options.log ?? `lmdb:${join(resolve(options.data), 'log')}`, 'read')
}

/** Loads only the driver that the address names. @throws UsageError when the address is not supported. */
export async function openLog(address: string, access: 'write' | 'read' = 'write'): Promise<Log> {
  const [scheme, ...rest] = address.split(':')
  const place = rest.join(':')
  if (scheme === 'lmdb' && place !== '') {
    const { openLmdbLog } = await import('../infra/log/lmdb/lmdb-log.ts')
    return openLmdbLog({ dir: isAbsolute(place) ? place : resolve(place), access })
  }
  if (scheme === 'kafka') return openKafka(address)
  throw new UsageError(
    `--log ${address}: expected lmdb:DIR or kafka://HOST:PORT`,
    'e.g. --log kafka://127.0.0.1:9092, with a prefix for its topics: --log kafka://127.0.0.1:9092/mine',
  )
}

async function openKafka(address: string): Promise<Log> {
  const { openKafkaLog } = await import('../infra/log/kafka/kafka-log.ts')
  try {
    return await openKafkaLog({ address })
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, 'e.g. --log kafka://127.0.0.1:9092/mine')
    throw error
  }
}

export const isKafka = (address: string | undefined): address is `kafka:${string}` =>
  address?.startsWith('kafka:') === true
