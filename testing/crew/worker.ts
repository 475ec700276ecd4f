import type { WorkerEvent } from '../../infra/runtime/work/worker.ts'
import { runPipeline } from '../../pipeline/run-pipeline.ts'
import { ESTIMATING } from '../batched-model.ts'
import { openData, TUNING, wiring } from './data.ts'
import { belongToStarter, say, TrapDoor } from './message.ts'
import { modelWorker } from './model.ts'
import { plantedOf, withPlanted } from './planted.ts'

/**
 * The workers of `plumbline run --no-sink`, and one of a model, in a process that can be killed at a point of a commit:
 * `node worker.ts DATA [PLANTED]`.
 */

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

const opened = await openData(data, 'write')
const folder = withPlanted(opened, plantedOf(planted))
try {
  const model = await modelWorker({
    ...folder,
    onEvent: (event) => tell(ESTIMATING.name, event),
    observe: (stage) => trap.at(ESTIMATING.name, stage),
  })
  await Promise.all([
    model.run(stop.signal),
    runPipeline({
      folder,
      topology: await wiring(),
      sinks: [],
      only: [],
      until_idle: false,
      expire_pending: false,
      signal: stop.signal,
      onWorkerEvent: tell,
      observe: (processor, stage) => trap.at(processor, stage),
      tuning: TUNING,
    }),
  ])
} finally {
  stop.abort()
  await folder.close()
}
