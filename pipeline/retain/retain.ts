import { setTimeout as wait } from 'node:timers/promises'
import { deleteIfOld } from '../../infra/blobs/old-blobs.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import type { Topology } from '../../streams/topology.ts'
import { blobFolder } from '../blob-stores.ts'
import { type DataFolder, isKafka } from '../data-folder.ts'
import type { SinkPlaces } from '../sinks.ts'
import { UsageError } from '../usage-error.ts'
import { prepareLog } from '../wiring.ts'
import { consumerHolds, NeededEvents } from './consumer-holds.ts'
import { type Hold, mayExpire, readerHolds } from './holds.ts'
import { type OldRecords, oldRecords } from './old-records.ts'
import { unnamedBlobs } from './unnamed-blobs.ts'

export interface RetainOptions {
  /** Records that were appended before may go. */
  readonly older_than_ms: number
  /** Blobs that were neither put nor asked for since may go. */
  readonly blobs_before_ms: number
  /** Readers and consumers that are not waited for. */
  readonly past: readonly string[]
  /** Of sinks that no data folder records. */
  readonly places: SinkPlaces
  /** False: tells what would go. */
  readonly deletes: boolean
  readonly report: (message: string) => void
}

export interface RetainReport {
  /** By topic and partition, those without anything to tell left out. */
  readonly partitions: readonly OldRecords[]
  /** Undefined where the blobs are not in the data folder. */
  readonly blobs: { readonly blobs: number; readonly bytes: number } | undefined
}

/** Committed records may stay invisible to a reader for so long, as on Kafka. Inferred. */
const VISIBLE_MS = 2_000

/**
 * Deletes old records that no reader and no training consumer needs, and then blobs that no record names.
 *
 * @throws UsageError when `past` names what is not there
 */
export async function retain(folder: DataFolder, wiring: Topology, options: RetainOptions): Promise<RetainReport> {
  await prepareLog(folder, wiring)
  const { log, blobs } = folder
  const vocabulary = catalogueOf(wiring.events)
  const training = { log, blobs, vocabulary, partitions: wiring.partitions }
  const readers = await readerHolds(log, wiring, { data: folder.dir, places: options.places })
  const consumers = await consumerHolds(training, options.report)
  expectKnown(options.past, [...readers, ...consumers])
  const isWaitedFor = ({ name }: Hold) => !options.past.includes(name)
  const types = wiring.events.filter(mayExpire)
  const needed = await NeededEvents.read(training, types, consumers.filter(isWaitedFor))
  const rules = { ...options, holds: [...readers, ...consumers].filter(isWaitedFor), needed }
  const partitions: OldRecords[] = []
  for (const type of types) {
    for (const partition of (await log.endOffsets(type.type)).keys()) {
      const old = await oldRecords(log, type, partition, rules)
      if (options.deletes && old.records > 0) await log.deleteBefore(type.type, partition, old.before)
      if (old.records > 0 || old.held_by.length > 0) partitions.push(old)
    }
  }
  return {
    partitions,
    blobs: folder.place.blobs === undefined ? await oldBlobsOf(folder, wiring, options, partitions) : undefined,
  }
}

async function oldBlobsOf(
  folder: DataFolder,
  wiring: Topology,
  { blobs_before_ms, deletes }: RetainOptions,
  gone: readonly OldRecords[],
) {
  const { log, blobs } = folder
  const { root } = blobFolder(folder.dir)
  // What a worker has committed before records were deleted may name their blobs.
  if (deletes && isKafka(log.address)) await wait(VISIBLE_MS)
  const stay = (topic: string, partition: number) =>
    gone.find((one) => one.topic === topic && one.partition === partition)?.before ?? 0n
  const keep = { log, blobs, vocabulary: catalogueOf(wiring.events), stay }
  const found = await unnamedBlobs(root, blobs_before_ms, keep)
  const total = { blobs: 0, bytes: 0 }
  for (const { sha256, bytes } of found) {
    if (deletes && !(await deleteIfOld(root, sha256, blobs_before_ms))) continue
    total.blobs++
    total.bytes += bytes
  }
  return total
}

function expectKnown(past: readonly string[], holds: readonly Hold[]): void {
  const unknown = past.find((name) => !holds.some((hold) => hold.name === name))
  if (unknown === undefined) return
  throw new UsageError(
    `--past ${unknown}: there is no such reader, nor a consumer that has not retired`,
    `there are ${holds.map(({ name }) => name).join(', ')}`,
  )
}
