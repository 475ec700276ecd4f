import { join } from 'node:path'
import { type DataFolder, duckdbFile } from '../../cli/data-folder.ts'
import { wiringOf } from '../../cli/pipeline.ts'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../../infra/log/log.ts'
import type { Tuning } from '../../infra/runtime/worker.ts'
import type { Topology } from '../../streams/topology.ts'

/** A policy that misses and hits, so that every outcome comes up. */
export const POLICY = 'random-legal'

/** Completions of a group. */
export const GROUP_SIZE = 4

export const logOf = (data: string): string => join(data, 'log')

export const wiring = (): Promise<Topology> => wiringOf({ policy: POLICY })

/** How long a silent worker keeps its partitions. */
export const LMDB_SESSION_MS = 1_500
/** Longer than a cluster takes to replace a node that has died, or everybody would be replaced with it. */
export const KAFKA_SESSION_MS = 6_000

/** Of a Kafka log, which lies outside of the folder, as for the program itself. */
const address = process.env.PLUMBLINE_LOG

/** Small commits and short leases, so that there are many to be killed in. */
export const TUNING: Partial<Tuning> = {
  commit_interval_ms: 20,
  max_unsaved_bytes: 100_000,
  session_timeout_ms: address === undefined ? LMDB_SESSION_MS : KAFKA_SESSION_MS,
  snapshot_every: 60,
}

/** The folder as the program opens it, but for what waits: a test need not wait for ten seconds. */
export async function openData(data: string, access: 'write' | 'read'): Promise<DataFolder> {
  const log = await openLog(data, access)
  return {
    dir: data,
    log,
    blobs: directoryBlobs(join(data, 'blobs')),
    duckdb_file: duckdbFile(data),
    close: () => log.close(),
  }
}

function openLog(data: string, access: 'write' | 'read'): Promise<Log> {
  if (address === undefined) return openLmdbLog({ dir: logOf(data), access, lock_wait_ms: 4_000 })
  return openKafkaLog({ address, heartbeat_ms: 500, transaction_timeout_ms: KAFKA_SESSION_MS - 1_000 })
}
