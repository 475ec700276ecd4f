import { join } from 'node:path'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import type { Tuning } from '../../infra/runtime/work/worker.ts'
import { folderBlobs } from '../../pipeline/blob-stores.ts'
import { type DataFolder, duckdbFile } from '../../pipeline/data-folder.ts'
import { wiringOf } from '../../pipeline/wiring.ts'
import type { Topology } from '../../streams/topology.ts'

/** A policy whose answers are right or wrong at random, so that every outcome occurs. */
export const POLICY = 'random-legal'

/** Completions per group. */
export const GROUP_SIZE = 4

export const logOf = (data: string): string => join(data, 'log')

export const wiring = (): Promise<Topology> => wiringOf({ policy: POLICY })

/** How long a silent worker keeps its partitions. */
export const LMDB_SESSION_MS = 1_500
/** Longer than a cluster takes to replace a dead node. Otherwise every worker's session would expire with it. */
export const KAFKA_SESSION_MS = 6_000

/** Address of a Kafka log outside the folder, from the variable that the program itself reads. */
const address = process.env.PLUMBLINE_LOG

/** Small commits and short leases, so that there are many commits to be killed in. */
export const TUNING: Partial<Tuning> = {
  commit_interval_ms: 20,
  max_unsaved_bytes: 100_000,
  session_timeout_ms: address === undefined ? LMDB_SESSION_MS : KAFKA_SESSION_MS,
  snapshot_every: 60,
}

/** Opens the folder as the program does, but with shorter timeouts: a test need not wait ten seconds. */
export async function openData(data: string, access: 'write' | 'read'): Promise<DataFolder> {
  const log = await openLog(data, access)
  return {
    dir: data,
    log,
    blobs: folderBlobs(data),
    duckdb_file: duckdbFile(data),
    place: { data, ...(address === undefined ? {} : { log: address }) },
    close: () => log.close(),
  }
}

function openLog(data: string, access: 'write' | 'read'): Promise<Log> {
  if (address === undefined) return openLmdbLog({ dir: logOf(data), access, lock_wait_ms: 4_000 })
  return openKafkaLog({ address, heartbeat_ms: 500, transaction_timeout_ms: KAFKA_SESSION_MS - 1_000 })
}
