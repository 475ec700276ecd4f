import { createHash } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import type { LogRecord } from '../infra/log/port/log.ts'
import { replay } from '../infra/runtime/rebuild/replay.ts'
import {
  type Place,
  type Replayed,
  type ReplayOptions,
  ReplayRefusedError,
} from '../infra/runtime/rebuild/replay-options.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { blobsOf, folderBlobs } from './blob-stores.ts'
import { type DataOptions, isKafka, openDataFolder, openLog, openLogForReading } from './data-folder.ts'
import { UsageError } from './usage-error.ts'
import { wiringOf } from './wiring.ts'

/** Source and target. Each is a data folder, `lmdb:DIR` with its blobs next to it, or `kafka://…`. */
export interface ReplayPlaces {
  /** The data folder of this pipeline. */
  readonly place: DataOptions
  /** `place` when left out. */
  readonly from?: string
  readonly to?: string
  /** Instead of `to`: a name next to the log, in FROM/replays/NAME. */
  readonly as?: string
}

/** Which records are replayed. */
export interface ReplayPart {
  readonly is_part: boolean
  /** Identifies the part within the name of the replay. */
  readonly text: string
  readonly wanted?: (record: LogRecord) => boolean
  readonly starts?: ReadonlyMap<string, readonly bigint[]>
}

export interface ReplayInto
  extends ReplayPlaces,
    Pick<ReplayOptions, 'what' | 'speed' | 'signal' | 'paused' | 'onProgress'> {
  readonly part: ReplayPart
  readonly partitions?: Partitions
}

/**
 * Emits a recorded log again, in another place; the same call after a kill resumes where it stopped.
 *
 * @returns what was emitted, and the address of the log that has it
 * @throws UsageError when both places are the same, or the other log already has other records
 */
export async function replayInto(options: ReplayInto): Promise<Replayed & { readonly to: string }> {
  const { part, place, what, speed, signal, paused, onProgress } = options
  const target = targetOf(options)
  const from = await openFrom(options.from, place)
  try {
    if (from.log.address === addressOf(target)) {
      throw new UsageError(`--to ${target}: that is the log itself`, 'name another place, or use --as NAME')
    }
    const to = await openTo(target, place)
    try {
      const { events } = await wiringOf({})
      const replayed = await replay({
        from,
        to,
        name: nameOf(from.log.address, what, part.text),
        events,
        vocabulary,
        what,
        ...(options.partitions === undefined ? {} : { partitions: options.partitions }),
        wanted: part.wanted,
        starts: part.starts,
        speed,
        signal,
        paused,
        onProgress,
      })
      return { ...replayed, to: to.log.address }
    } finally {
      await to.close()
    }
  } catch (error) {
    if (error instanceof ReplayRefusedError)
      throw new UsageError(error.message, 'see ./plumbline replay --help', { cause: error })
    throw error
  } finally {
    await from.log.close()
  }
}

function targetOf({ to, as, from, place }: ReplayPlaces): string {
  if (as === undefined && to !== undefined) return to
  if (as === undefined || to !== undefined) throw new UsageError('replay: expected --to or --as', 'e.g. --to data/copy')
  if (!/^[\w.-]+$/.test(as) || as.startsWith('.'))
    throw new UsageError(`--as ${as}: expected a name for a folder`, 'letters, digits, - and _')
  if (isKafka(from)) throw new UsageError(`--as ${as}: there is no folder next to ${from}`, 'name a place with --to')
  // Next to the log, where its blobs are.
  const beside = from?.startsWith('lmdb:') ? dirname(resolve(from.slice('lmdb:'.length))) : resolve(from ?? place.data)
  return join(beside, 'replays', as)
}

/** Replays of the same part of the same log share a name, so that an interrupted one can resume. */
function nameOf(address: string, what: string, part: string): string {
  return `replay/${createHash('sha256')
    .update(JSON.stringify([address, what, part]))
    .digest('hex')
    .slice(0, 16)}`
}

/** A Kafka log has no folder next to it, so its blobs are those of the data folder. */
async function openFrom(from: string | undefined, place: DataOptions): Promise<Place> {
  if (isKafka(from)) return { log: await openLog(from, 'read'), blobs: blobsOf(place) }
  if (from?.startsWith('lmdb:')) return { log: await openLog(from, 'read'), blobs: blobsBeside(from) }
  const options = from === undefined ? place : { data: from }
  return { log: await openLogForReading(options), blobs: blobsOf(options) }
}

async function openTo(to: string, place: DataOptions): Promise<Place & { close(): Promise<void> }> {
  if (isKafka(to)) return openDataFolder({ ...place, log: to }, { create: true })
  if (!to.startsWith('lmdb:')) return openDataFolder({ data: to }, { create: true })
  const log = await openLog(to)
  return { log, blobs: blobsBeside(to), close: () => log.close() }
}

function addressOf(target: string): string {
  if (isKafka(target)) return target
  return `lmdb:${target.startsWith('lmdb:') ? resolve(target.slice('lmdb:'.length)) : join(resolve(target), 'log')}`
}

const blobsBeside = (address: string) => folderBlobs(dirname(resolve(address.slice('lmdb:'.length))))
