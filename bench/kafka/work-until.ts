import type { Log } from '../../infra/log/port/log.ts'
import { Worker, type WorkerEvent } from '../../infra/runtime/work/worker.ts'
import type { Processor } from '../../processors/processor.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'
import { noBlobs, PARTITIONS } from '../tower-log.ts'

/** A worker that fails instead of retrying, and at a dead letter. */
export function strictWorker(
  log: Log,
  processor: Processor,
  vocabulary: Catalogue,
  heard: (event: WorkerEvent) => void,
): Worker {
  return new Worker({
    log,
    blobs: noBlobs,
    processor,
    vocabulary,
    partitions: PARTITIONS,
    instance: 'bench',
    onEvent(event) {
      if (event.kind === 'retrying') throw event.error
      if (event.kind === 'committed' && event.dead_letters > 0) {
        throw new Error(`${processor.name}: ${event.dead_letters} dead letters`)
      }
      heard(event)
    },
  })
}

/** Runs one worker until it has committed `records` input records. Polling the broker for them would slow it down. */
export async function workUntil(log: Log, processor: Processor, vocabulary: Catalogue, records: number): Promise<void> {
  const stop = new AbortController()
  let committed = 0
  const worker = strictWorker(log, processor, vocabulary, (event) => {
    if (event.kind !== 'committed') return
    committed += event.records
    if (committed >= records) stop.abort()
  })
  await worker.run(stop.signal)
}
