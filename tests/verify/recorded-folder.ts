import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generate } from '../../cli/generate.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { chunkKey, openTables, type Tables, topicRow } from '../../infra/log/lmdb/tables.ts'
import type { Log, LogRecord, NewRecord } from '../../infra/log/port/log.ts'
import { type DataFolder, openDataFolder } from '../../pipeline/data-folder.ts'
import { type FolderReport, verify } from '../../pipeline/verify.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import { DEFAULTS, type Topology, topology } from '../../streams/topology.ts'
import { runUntilIdle } from '../../testing/run-until-idle.ts'
import { copyLog, recordsOf } from '../cli/whole-log.ts'

/** A data folder with a few complete groups, copies of which are damaged. */
export class RecordedFolder {
  readonly folder: DataFolder
  readonly wiring: Topology
  #copies = 0

  private constructor(folder: DataFolder, wiring: Topology) {
    this.folder = folder
    this.wiring = wiring
  }

  static async make(): Promise<RecordedFolder> {
    const data = await mkdtemp(join(tmpdir(), 'plumbline-test-'))
    const folder = await openDataFolder({ data }, { create: true })
    const wiring = await topology({ ...DEFAULTS, policy: 'random-legal' })
    const scenes = { dataset: 'side_block', task: 'x_y', split: 'train', variant: 'plain', purpose: 'train' } as const
    const { signal } = new AbortController()
    const some = { ...scenes, round: 1, scenes: 6, seed: '7', group_size: 3 }
    await prepareLog(folder, wiring)
    await generate(folder, some, true, signal)
    await runUntilIdle(folder, wiring, { tuning: { snapshot_every: 2 } })
    return new RecordedFolder(folder, wiring)
  }

  async remove(): Promise<void> {
    await this.folder.close()
    await rm(this.folder.dir, { recursive: true, force: true })
  }

  async recordsOf(topic: string): Promise<LogRecord[]> {
    return await recordsOf(this.folder.log, topic)
  }

  verify(
    flags: { readonly blobs?: boolean; readonly tables?: boolean } = {},
    of: Partial<DataFolder> = {},
  ): Promise<FolderReport> {
    return verify({ ...this.folder, ...of }, this.wiring, flags)
  }

  /** Verifies a copy of the log in which every record went through `change`, with `more` appended. */
  async verifyCopy(
    change: (record: LogRecord) => NewRecord | undefined,
    more: readonly (NewRecord & { readonly topic: string; readonly partition: number })[] = [],
    flags: { readonly blobs?: boolean } = {},
  ): Promise<FolderReport> {
    const dir = join(this.folder.dir, `copy-${this.#copies++}`)
    await copyLog(join(this.folder.dir, 'log'), dir, change, more)
    return await this.#verifyAt(dir, flags)
  }

  /** Verifies a copy whose chunks were changed on disk. */
  async verifyDamaged(damage: (tables: Tables) => void): Promise<FolderReport> {
    const dir = join(this.folder.dir, `copy-${this.#copies++}`)
    await copyLog(join(this.folder.dir, 'log'), dir, (record) => record)
    const tables = openTables(dir, false, 'flushed')
    tables.env.transactionSync(() => damage(tables))
    await tables.env.close()
    return await this.#verifyAt(dir, {})
  }

  async #verifyAt(dir: string, flags: { readonly blobs?: boolean }): Promise<FolderReport> {
    const log: Log = await openLmdbLog({ dir })
    try {
      return await this.verify(flags, { log })
    } finally {
      await log.close()
    }
  }
}

/** Changes one bit in the middle of the chunk that begins at this offset. */
export function flipBit(tables: Tables, topic: string, partition: number, offset: number): void {
  const key = chunkKey(topicRow(tables, topic)?.id ?? 0, partition, offset)
  const bytes = Buffer.from(tables.chunks.getBinary(key) as Buffer)
  const at = bytes.byteLength >> 1
  bytes[at] = (bytes[at] as number) ^ 4
  tables.chunks.putSync(key, bytes)
}
