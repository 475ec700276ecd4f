import type { Processor } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import { PoisonError } from '../../../schemas/wire/codec.ts'
import type { Partitions } from '../../../schemas/wire/partitions.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import { type ComputePool, sharedCompute } from '../../compute/compute.ts'
import type { Log, LogRecord } from '../../log/port/log.ts'
import { type ModelSessions, sharedModels } from '../../models/model-sessions.ts'
import { decodeRecord } from '../execute/decode-record.ts'
import type { Executed, Execution } from '../execute/executed.ts'
import { NEVER_ABORTED, type Reach } from '../execute/reach.ts'
import { DeadPlaces } from '../internal/dead-places.ts'
import { type JournalledBatch, readJournalled } from '../internal/journal-reader.ts'
import { headerOf } from '../internal/json-records.ts'
import { batchSizes, deadOrdinals } from '../internal/taken.ts'

export interface RerunOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: Partitions
  /** Where the kernels of transforms run; default: the pool that this process shares. */
  readonly compute?: Pick<ComputePool, 'run'>
  /** Where models run; default: the sessions that this process shares. */
  readonly models?: Pick<ModelSessions, 'run'>
}

/** What a transform may reach that is run on these. */
export function reachOf(
  { blobs, compute, models }: Pick<RerunOptions, 'blobs' | 'compute' | 'models'>,
  signal?: AbortSignal,
): Reach {
  return {
    blobs,
    compute: compute ?? sharedCompute(),
    models: models ?? sharedModels(),
    signal: signal ?? NEVER_ABORTED,
  }
}

/**
 * Runs a task again over everything that it has committed, in journal order. Each commit runs in its original variant
 * and with its original batches, without the records that became dead letters. Yields the result of each commit; inputs
 * in its `failures` did not fail originally. The state is in `execution`.
 *
 * @throws UnreadableNowError when an input that was processed originally can no longer be read.
 */
export async function* rerun(
  execution: Execution,
  name: string,
  partition: number,
  create: (variant: readonly string[]) => Processor,
  options: RerunOptions,
  until?: bigint,
): AsyncGenerator<Executed> {
  const { log } = options
  let variant: string | undefined
  let running: Processor | undefined
  let dead: DeadPlaces | undefined
  for await (const batch of readJournalled(log, name, partition, until)) {
    const { entry } = batch
    const journalled = JSON.stringify(entry.variant)
    const processor = journalled === variant ? running : create(entry.variant)
    // Recorded by an effect at that time: facts are not recomputed.
    if (processor === undefined || processor.produces === 'facts') continue
    if (journalled !== variant) execution.become(processor)
    variant = journalled
    running = processor
    if (entry.taken === undefined) dead ??= await DeadPlaces.read(log, processor, partition)
    const { events, by_ordinal } = await readTaken(batch, dead, options)
    const executed = await execution.process(events, {
      batches: entry.taken === undefined ? undefined : batchSizes(entry.taken),
      unexpired: unexpiredOf(batch, by_ordinal),
    })
    execution.takeChanges()
    // Without a list of the keys that failed to expire originally, a key that fails now may be one of them.
    const failures = executed.failures.filter(({ expiring }) => entry.taken !== undefined || expiring === undefined)
    yield { ...executed, failures }
  }
}

interface TakenEvents {
  readonly events: readonly Event[]
  readonly by_ordinal: ReadonlyMap<number, Event>
}

async function readTaken(
  { entry, records }: JournalledBatch,
  dead: DeadPlaces | undefined,
  { vocabulary, partitions, blobs }: RerunOptions,
): Promise<TakenEvents> {
  const passed = entry.taken === undefined ? undefined : deadOrdinals(entry.taken)
  const by_ordinal = new Map<number, Event>()
  for (const [ordinal, record] of records.entries()) {
    if (passed?.has(ordinal) ?? dead?.take(record)) continue
    const event = await decodeRecord(record, vocabulary, partitions, blobs).catch((error: unknown) => {
      // No release could read a record without an id, so it was skipped originally too.
      if (error instanceof PoisonError && passed === undefined && headerOf(record, 'ce_id') === undefined)
        return undefined
      throw error instanceof PoisonError ? new UnreadableNowError(record, error) : error
    })
    if (event !== undefined) by_ordinal.set(ordinal, event)
  }
  return { events: [...by_ordinal.values()], by_ordinal }
}

function unexpiredOf({ entry }: JournalledBatch, by_ordinal: ReadonlyMap<number, Event>): Map<Event, Set<string>> {
  const unexpired = new Map<Event, Set<string>>()
  for (const [ordinal, key] of entry.taken?.unexpired ?? []) {
    const tick = by_ordinal.get(ordinal)
    if (tick === undefined) continue
    const keys = unexpired.get(tick)
    if (keys === undefined) unexpired.set(tick, new Set([key]))
    else keys.add(key)
  }
  return unexpired
}

/** An input that was processed once cannot be decoded now: its blob is gone, or its bytes have changed. */
export class UnreadableNowError extends Error {
  override readonly name = 'UnreadableNowError'
  readonly retry = 'never'

  readonly record: LogRecord

  constructor(record: LogRecord, cause: Error) {
    const { topic, partition, offset } = record
    super(
      `${topic} partition ${partition} offset ${offset} was processed once and cannot be read now: ${cause.message}`,
    )
    this.record = record
  }
}
