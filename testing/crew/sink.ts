import { duckdbFile } from '../../pipeline/data-folder.ts'
import { SupervisedSink } from '../../sinks/duckdb/process/supervised-sink.ts'
import { belongToStarter, say } from './message.ts'
import { plantedOf } from './planted.ts'
import type { TablesPlace } from './tables-process.ts'

/** The tables of `plumbline run`, with their supervisor in a separate process: `node sink.ts DATA TRAP [PLANTED]`. */

const [data = '', trap = '', planted] = process.argv.slice(2)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
belongToStarter()

const sink = new SupervisedSink({
  entry: new URL('./tables-process.ts', import.meta.url),
  report: (message) => say({ says: 'report', message }),
})
const place: TablesPlace = { data, trap, planted: plantedOf(planted) }
try {
  await sink.open({ file: duckdbFile(data), place, batch_bytes: 100_000, poll_ms: 50, wait_ms: 10_000 })
  await sink.run(stop.signal)
} finally {
  await sink.close()
}
