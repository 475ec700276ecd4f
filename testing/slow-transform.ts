import { memoryBlobs } from '../infra/blobs/memory.ts'
import type { Log } from '../infra/log/port/log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { Worker } from '../infra/runtime/work/worker.ts'
import { causeOf, isA, type Transform, type TransformContext } from '../processors/processor.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { added, counted, EVENTS, PARTITIONS, recordsOf, vocabulary } from './counting.ts'

/** A transform that takes long, on two partitions. When a second worker joins, the first one keeps partition 0. */

/** A key whose partition the first worker keeps, and one whose partition goes to the second. */
export const STAYS = keyIn(0)
export const GOES = keyIn(1)

function keyIn(partition: number): string {
  const keys = Array.from({ length: 20 }, (_, at) => `key-${at}`)
  return keys.find((key) => partitionOf(key, PARTITIONS) === partition) as string
}

export const SLOW_TOPICS = topicsOf(EVENTS, [{ name: 'slow' }], PARTITIONS)

/** Emits what it gets, after `wait`. */
export function slow(wait: (key: string, context: TransformContext) => Promise<void>): Transform {
  return {
    shape: 'transform',
    name: 'slow',
    version: 1,
    about: 'takes its time',
    variant: [],
    produces: 'derived',
    inputs: [added],
    outputs: [counted],
    max_batch: 1,
    async apply([event], context) {
      if (event === undefined || !isA(event, added)) return
      await wait(event.key, context)
      context.emit(counted, { who: event.key, sum: event.data.amount }, { causes: [causeOf(event)] })
    },
  }
}

/** In its first call for `GOES`, waits until it is aborted. */
export function waitingForTakeover() {
  const { promise: begun, resolve: begins } = Promise.withResolvers<void>()
  const reasons: string[] = []
  let is_first = true
  const processor = slow(async (key, { signal }) => {
    if (key !== GOES || !is_first) return
    is_first = false
    begins()
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
    reasons.push((signal.reason as Error).name)
    signal.throwIfAborted()
  })
  return { processor, begun, reasons }
}

/** Runs a worker until the signal aborts. @returns the kinds of its events, and when it has ended */
export function startSlow(log: Log, instance: string, processor: Transform, stop: AbortSignal) {
  const kinds: string[] = []
  const worker = new Worker({
    ...{ log, blobs: memoryBlobs(), processor, vocabulary, partitions: PARTITIONS, instance },
    onEvent: ({ kind }) => kinds.push(kind),
    // Long enough that only the end of a call leads to a commit.
    tuning: { commit_interval_ms: 60_000, session_timeout_ms: 1_500 },
  })
  return { kinds, ended: worker.run(stop) }
}

export const emittedFor = async (log: Log) => (await recordsOf(log, counted.type)).map(({ key }) => key).sort()

/** A worker that never left its group, and reported no failure. */
export const hasOnlyMoved = (kinds: readonly string[]) => !kinds.includes('left') && !kinds.includes('retrying')
