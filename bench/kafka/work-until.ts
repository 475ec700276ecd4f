import type { Log } from '../../infra/log/log.ts'
import { Worker, type WorkerEvent } from '../../infra/runtime/worker.ts'
import type { Processor } from '../../processors/processor.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { noBlobs, PARTITIONS } from '../tower-log.ts'

/** A worker whose run fails where another would try again, and at a dead letter. */
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

/** One worker, until it has committed so many input records. Asking the broker how far it is would slow it down. */
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
