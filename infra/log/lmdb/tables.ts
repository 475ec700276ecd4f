import type { Database, RootDatabase } from 'lmdb'
import type { GroupState } from '../port/group.ts'
import type { Position } from '../port/log.ts'
import { encodeSeen, positionOf } from '../port/seen.ts'
import { lmdb } from './lmdb-js.ts'
import { openingAlone } from './namespace-claim.ts'
import { logDamaged } from './sound-file.ts'

/**
 * Layout of a log folder's LMDB environment. A newer layout gets a higher number and is refused by older code.
 * Format 2 adds chunks of version 2. Format 3 adds chunks with a checksum, an id of the log, and positions with what
 * was read (`Seen`). Opening a folder for writing raises it to the newest format and leaves old entries unchanged.
 */
export const FORMAT = 3

/**
 * One topic. Offsets are plain numbers in here, exact up to 2⁵³, and bigint outside.
 */
export interface TopicRow {
  readonly id: number
  /** Per partition, the first retained offset. */
  readonly begins: readonly number[]
  /** Per partition, the next offset to assign. */
  readonly ends: readonly number[]
}

/**
 * `['format']`, `['log_id']`, `['topics']` (the highest topic id), `['topic', name]`, `['producer', transactional_id]`,
 * `['group', group]`, `['position', group, topic, partition]`, `['lost', topic, partition]` (a list of `LostRange`)
 */
export type CatalogKey = (string | number)[]

/** Offsets whose records a repair could not copy into this folder: from the first up to, not including, the second. */
export type LostRange = readonly [from: number, to: number]

/** The environment as one thread sees it. */
export interface Tables {
  readonly env: RootDatabase
  /** Chunks by topic id, partition and first offset. */
  readonly chunks: Database<Buffer, Buffer>
  readonly catalog: Database<unknown, CatalogKey>
}

export type Durability = 'flushed' | 'survives_kill_only'

/** Opens the environment. Each thread of a process has a handle of its own. @throws LogBusyError, and LMDB's errors */
export function openTables(dir: string, read_only: boolean, durability: Durability): Tables {
  const release = openingAlone(dir)
  try {
    return opened(dir, read_only, durability)
  } finally {
    release()
  }
}

/** The last handle of the last process closes the environment itself. */
export async function closeTables({ env }: Tables): Promise<void> {
  let release = () => {}
  try {
    release = openingAlone((env as unknown as { path: string }).path)
  } catch {
    // Another process was stopped while it opened or closed the folder: this one must be able to end.
  }
  try {
    await env.close()
  } finally {
    release()
  }
}

function opened(dir: string, read_only: boolean, durability: Durability): Tables {
  const env = openEnvironment({
    path: dir,
    noSubdir: false,
    readOnly: read_only,
    maxDbs: 8,
    maxReaders: 1024,
    // Address space, not disk: the file grows as it is written. Growing the map in steps would have to stop all readers
    // of this process, because one thread writes and another reads.
    mapSize: 2 ** 40,
    // Visible records are flushed: with overlapping syncs, readers could act on records that a power cut then removes.
    overlappingSync: false,
    noSync: durability === 'survives_kill_only',
  })
  try {
    // Undefined if they do not exist and this handle may not create them; the declarations of lmdb-js leave that out.
    const chunks = env.openDB<Buffer, Buffer>({ name: 'chunks', keyEncoding: 'binary', encoding: 'binary' })
    const catalog = env.openDB<unknown, CatalogKey>({ name: 'catalog', encoding: 'json' })
    if (!chunks || !catalog) throw noLog(dir)
    return { env, chunks, catalog }
  } catch (error) {
    // Without a pending write, this is done when it returns.
    void env.close()
    throw error
  }
}

type EnvironmentOptions = Parameters<typeof lmdb.openAsClass>[0]
type Root = new (name: null, options: EnvironmentOptions & { readonly isRoot: true }) => RootDatabase

/**
 * Opens the environment, and closes it if its root table cannot be opened. `open` of lmdb-js leaves it open then, and
 * the next handle of this process would share it.
 */
function openEnvironment(options: EnvironmentOptions): RootDatabase {
  const Root = lmdb.openAsClass(options) as unknown as Root
  try {
    return new Root(null, { ...options, isRoot: true })
  } catch (error) {
    void Root.prototype.close.call({ isRoot: true })
    throw error
  }
}

export function topicRow(tables: Tables, name: string): TopicRow | undefined {
  const row = tables.catalog.get(['topic', name]) as TopicRow | undefined
  if (row !== undefined) expectTopicRow(tables, name, row)
  return row
}

/** All topics, as their entries are. */
export function* topicRows({ catalog }: Tables): Generator<{ readonly name: string; readonly row: TopicRow }> {
  for (const { key, value } of catalog.getRange({ start: ['topic', ''], end: ['topic', '\uffff'] })) {
    yield { name: String(key[1]), row: value as TopicRow }
  }
}

/** Validates a row, because the catalog has no checksum. */
export function isTopicRow(row: unknown): row is TopicRow {
  const { id, begins, ends } = (row ?? {}) as Partial<TopicRow>
  if (!Number.isSafeInteger(id) || !Array.isArray(begins) || !Array.isArray(ends)) return false
  const { length } = ends
  if (length !== begins.length || !ends.every((end) => Number.isSafeInteger(end))) return false
  return begins.every((begin, p) => Number.isSafeInteger(begin) && begin >= 0 && begin <= (ends[p] as number))
}

function expectTopicRow(tables: Tables, name: string, row: TopicRow): void {
  if (isTopicRow(row)) return
  throw logDamaged(
    (tables.env as unknown as { path: string }).path,
    `the entry of topic ${name} in its catalog is ${JSON.stringify(row)}`,
  )
}

/** Position of a group: the next offset, or the next offset and `Seen` as `encodeSeen` writes it. */
export type PositionRow = number | readonly [next: number, seen: string]

export function positionAt(topic: string, partition: number, row: PositionRow): Position {
  return typeof row === 'number'
    ? { topic, partition, next: BigInt(row) }
    : positionOf(topic, partition, BigInt(row[0]), row[1])
}

export function positionRow({ next, seen }: Position): PositionRow {
  return seen === undefined ? Number(next) : [Number(next), encodeSeen(seen)]
}

/** A log never reuses a topic number, so together with the log's id it is globally unique. */
export const topicId = (log_id: string, { id }: TopicRow) => (log_id === '' ? '' : `${log_id}.${id}`)

/** Empty in a log of an earlier release that has not been opened for writing since. */
export function logId(tables: Tables): string {
  return (tables.catalog.get(['log_id']) as string | undefined) ?? ''
}

export function groupState(tables: Tables, group: string): GroupState | undefined {
  return tables.catalog.get(['group', group]) as GroupState | undefined
}

export function lostRanges(tables: Tables, topic: string, partition: number): readonly LostRange[] {
  return (tables.catalog.get(['lost', topic, partition]) as readonly LostRange[] | undefined) ?? []
}

/** Nothing was written yet, or a process is creating the log at this moment. */
export function noLog(dir: string): Error {
  return new Error(`lmdb:${dir}: expected a log to read, found none. Write one first, or name another folder.`)
}

/** @param found undefined in a log that is being created */
export function checkFormat(dir: string, found: unknown): void {
  if (found === undefined) throw noLog(dir)
  if (typeof found === 'number' && found >= 1 && found <= FORMAT) return
  throw new Error(
    `lmdb:${dir}: expected a log folder of format ${FORMAT} or older, found ${JSON.stringify(found)}. ` +
      'A newer release wrote it: use that release, or another folder.',
  )
}

/** Keys sort by topic, partition and offset. */
export function chunkKey(topic_id: number, partition: number, offset: number): Buffer {
  const key = Buffer.allocUnsafe(16)
  key.writeUInt32BE(topic_id, 0)
  key.writeUInt32BE(partition, 4)
  key.writeUInt32BE(Math.floor(offset / 2 ** 32), 8)
  key.writeUInt32BE(offset % 2 ** 32, 12)
  return key
}

export function offsetOf(key: Buffer): number {
  return key.readUInt32BE(8) * 2 ** 32 + key.readUInt32BE(12)
}

/** The clock of leases: the same for all processes of a host, and it cannot be set. */
export function leaseClock_ms(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
