/**
 * The workers of `plumbline run --no-sink` in a process that can be killed at a point of a commit:
 * `node worker.ts DATA [early-positions | lost-blobs]`.
 */

import type { WorkerEvent } from '../../infra/runtime/work/worker.ts'
import { runPipeline } from '../../pipeline/run-pipeline.ts'
import { openData, TUNING, wiring } from './data.ts'
import { withEarlyPositions } from './early-positions.ts'
import { withLostBlobs } from './lost-blobs.ts'
import { belongToStarter, say, TrapDoor } from './message.ts'

const [data = '', planted] = process.argv.slice(2)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
belongToStarter()
const trap = new TrapDoor()

function tell(processor: string, event: WorkerEvent): void {
  if (event.kind === 'restored') say({ says: 'restored', processor, partition: event.partition })
  else if (event.kind === 'lost') say({ says: 'lost', processor, partitions: event.partitions })
  else if (event.kind === 'committed') say({ says: 'committed', processor, records: event.records })
  else if (event.kind === 'retrying') say({ says: 'retrying', processor, message: event.error.message })
}

const folder = await openData(data, 'write')
try {
  await runPipeline({
    folder: {
      ...folder,
      log: planted === 'early-positions' ? withEarlyPositions(folder.log) : folder.log,
      blobs: planted === 'lost-blobs' ? withLostBlobs(folder.blobs) : folder.blobs,
    },
    topology: await wiring(),
    sinks: [],
    only: [],
    until_idle: false,
    expire_pending: false,
    signal: stop.signal,
    onWorkerEvent: tell,
    observe: (processor, stage) => trap.at(processor, stage),
    tuning: TUNING,
  })
} finally {
  await folder.close()
}
