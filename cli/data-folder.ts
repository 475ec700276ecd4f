import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import type { Blobs } from '../infra/blobs/blobs.ts'
import { cachedBlobs } from '../infra/blobs/cached.ts'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { httpBlobs } from '../infra/blobs/http.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../infra/log/log.ts'
import { UsageError } from './usage-error.ts'

/** Raised when what lies in a data folder changes so that an older program would misread it. */
const FORMAT = 1

export interface DataFolder {
  readonly dir: string
  readonly log: Log
  readonly blobs: Blobs
  readonly duckdb_file: string
  close(): Promise<void>
}

export interface DataOptions {
  readonly data: string
  readonly log?: string
  /** Where the blobs of another host are handed out; the data folder's own when left out. */
  readonly blobs?: string
}

/** Names the environment variable with the token of `blobs serve`. */
export const BLOBS_TOKEN = 'PLUMBLINE_BLOBS_TOKEN'

/**
 * Opens the folder that holds everything of one pipeline.
 *
 * @throws UsageError when it was written by a newer program, or the log address is not one that is known.
 */
export async function openDataFolder(options: DataOptions, { create }: { create: boolean }): Promise<DataFolder> {
  const dir = resolve(options.data)
  // A log elsewhere may be full of data that this host has nothing of yet.
  if (create || options.log !== undefined) createFolder(dir)
  openedBefore(options)
  const log = await openLog(options.log ?? `lmdb:${join(dir, 'log')}`)
  return {
    dir,
    log,
    blobs: blobsOf(options),
    duckdb_file: duckdbFile(dir),
    close: () => log.close(),
  }
}

/** Makes the folder where there is none, for what opens neither log nor blobs. @throws UsageError as above */
export function makeDataFolder(options: DataOptions): void {
  createFolder(resolve(options.data))
  openedBefore(options)
}

export const duckdbFile = (dir: string) => join(dir, 'plumbline.duckdb')

/** @throws UsageError when nothing was ever written to this folder, or by a newer program. */
export function openedBefore(options: DataOptions): void {
  const dir = resolve(options.data)
  if (!existsSync(formatFile(dir))) {
    throw new UsageError(
      `${dir} holds no Plumbline data`,
      'run `./plumbline generate tower …` or `./plumbline demo` first, or name another folder with --data',
    )
  }
  checkFormat(formatFile(dir))
}

/** Where exports are made before they are moved to where they should be. */
export const exportFolder = (dir: string) => join(dir, '.exports')

const formatFile = (dir: string) => join(dir, 'plumbline.json')

function createFolder(dir: string): void {
  mkdirSync(dir, { recursive: true })
  if (!existsSync(formatFile(dir))) writeFileSync(formatFile(dir), `${JSON.stringify({ format: FORMAT })}\n`)
}

function checkFormat(file: string): void {
  const text = readFileSync(file, 'utf8')
  const format = formatOf(text)
  if (format === undefined) {
    throw new UsageError(
      `${file}: expected {"format":${FORMAT}}, got ${text.trim().slice(0, 60) || 'nothing'}`,
      'the file is damaged, or no Plumbline folder lies here: restore it, or name another folder with --data',
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

/** The blobs of a data folder, or those of another host, each kept in the data folder once it was brought. */
export function blobsOf({ data, blobs: url }: DataOptions): Blobs {
  const here = directoryBlobs(join(resolve(data), 'blobs'))
  if (url === undefined) return here
  if (!/^https?:\/\//.test(url) || !URL.canParse(url))
    throw new UsageError(`--blobs ${url}: expected the URL of a blob server`, 'e.g. --blobs http://10.0.0.5:8790')
  const token = process.env[BLOBS_TOKEN]
  if (!token)
    throw new UsageError(`--blobs ${url}: ${BLOBS_TOKEN} is not set`, 'set it to the token that `blobs serve` printed')
  return cachedBlobs(here, httpBlobs({ url, token }))
}

/** The log of a data folder for looking only: it needs no write lock, and no permission to write. */
export async function openLogForReading(options: DataOptions): Promise<Log> {
  if (options.log === undefined || existsSync(formatFile(resolve(options.data)))) openedBefore(options)
  return openLog(options.log ?? `lmdb:${join(resolve(options.data), 'log')}`, 'read')
}

/** @throws UsageError when the address is not one that is known. */
export async function openLog(address: string, access: 'write' | 'read' = 'write'): Promise<Log> {
  const [scheme, ...rest] = address.split(':')
  const place = rest.join(':')
  if (scheme === 'lmdb' && place !== '') return openLmdbLog({ dir: isAbsolute(place) ? place : resolve(place), access })
  if (scheme === 'kafka') return openKafka(address)
  throw new UsageError(
    `--log ${address}: expected lmdb:DIR or kafka://HOST:PORT`,
    'e.g. --log kafka://127.0.0.1:9092, with a prefix for its topics: --log kafka://127.0.0.1:9092/mine',
  )
}

async function openKafka(address: string): Promise<Log> {
  // Only whoever uses Kafka waits for its client to be loaded.
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
