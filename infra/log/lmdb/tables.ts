import { type Database, open, type RootDatabase } from 'lmdb'
import type { GroupState } from '../group.ts'

/**
 * How a log folder's LMDB environment is laid out. A newer layout gets a higher number and is refused by older code.
 * Format 2 has chunks of version 2 beside those of version 1; whoever opens a folder for writing makes it one of format 2.
 */
export const FORMAT = 2

/**
 * One topic. Offsets are plain numbers in here, exact up to 2⁵³, and bigint outside.
 */
export interface TopicRow {
  readonly id: number
  /** Per partition, the first offset that is still there. */
  readonly begins: readonly number[]
  /** Per partition, the next offset to be given. */
  readonly ends: readonly number[]
}

/**
 * `['format']`, `['topic', name]`, `['producer', transactional_id]`, `['group', group]`,
 * `['position', group, topic, partition]`
 */
export type CatalogKey = (string | number)[]

/** The environment as one thread sees it. */
export interface Tables {
  readonly env: RootDatabase
  /** Chunks by topic id, partition and first offset. */
  readonly chunks: Database<Buffer, Buffer>
  readonly catalog: Database<unknown, CatalogKey>
}

export type Durability = 'flushed' | 'survives_kill_only'

export function openTables(dir: string, read_only: boolean, durability: Durability): Tables {
  const env = open({
    path: dir,
    noSubdir: false,
    readOnly: read_only,
    maxDbs: 8,
    maxReaders: 1024,
    // Address space, not disk: the file grows as it is written. Growing the map in steps would have to stop every
    // reader of this process, and there is one thread that writes and another that reads.
    mapSize: 2 ** 40,
    // What is visible is flushed: with overlapping syncs, readers could act on records that a power cut takes back.
    overlappingSync: false,
    noSync: durability === 'survives_kill_only',
  })
  const chunks = env.openDB<Buffer, Buffer>({ name: 'chunks', keyEncoding: 'binary', encoding: 'binary' })
  const catalog = env.openDB<unknown, CatalogKey>({ name: 'catalog', encoding: 'json' })
  return { env, chunks, catalog }
}

export function topicRow(tables: Tables, name: string): TopicRow | undefined {
  return tables.catalog.get(['topic', name]) as TopicRow | undefined
}

export function groupState(tables: Tables, group: string): GroupState | undefined {
  return tables.catalog.get(['group', group]) as GroupState | undefined
}

export function checkFormat(dir: string, found: unknown): void {
  if (typeof found === 'number' && found >= 1 && found <= FORMAT) return
  throw new Error(
    `lmdb:${dir}: expected a log folder of format ${FORMAT} or older, found ${JSON.stringify(found ?? null)}. ` +
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

/** The clock of leases: the same for all processes of a host, and no one can set it. */
export function leaseClock_ms(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}
