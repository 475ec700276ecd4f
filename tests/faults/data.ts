import { join } from 'node:path'
import { type DataFolder, duckdbFile } from '../../cli/data-folder.ts'
import { wiringOf } from '../../cli/pipeline.ts'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { Topology } from '../../streams/topology.ts'

/** A policy that misses and hits, so that every outcome comes up. */
export const POLICY = 'random-legal'

/** Completions of a group. */
export const GROUP_SIZE = 4

export const logOf = (data: string): string => join(data, 'log')

export const wiring = (): Promise<Topology> => wiringOf({ policy: POLICY })

/** The folder as the program opens it, but for how long a write waits: a test need not wait for ten seconds. */
export async function openData(data: string, access: 'write' | 'read'): Promise<DataFolder> {
  const log = await openLmdbLog({ dir: logOf(data), access, lock_wait_ms: 4_000 })
  return {
    dir: data,
    log,
    blobs: directoryBlobs(join(data, 'blobs')),
    duckdb_file: duckdbFile(data),
    close: () => log.close(),
  }
}
