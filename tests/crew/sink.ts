/** The DuckDB sink in a process of its own, answering SQL meanwhile: `node sink.ts DATA`. */
import { openDuckDbSink } from '../../sinks/duckdb/sink.ts'
import { openData, wiring } from './data.ts'
import { belongToStarter, say, TrapDoor } from './message.ts'

const [data = ''] = process.argv.slice(2)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
belongToStarter()
const trap = new TrapDoor()

const folder = await openData(data, 'read')
const { events, views } = await wiring()
const sink = await openDuckDbSink({
  file: folder.duckdb_file,
  log: folder.log,
  catalogue: events,
  views,
  blobs: folder.blobs,
  batch_bytes: 100_000,
  poll_ms: 50,
  wait_ms: 10_000,
  report: (message) => say({ says: 'report', message }),
  observe: (stage) => {
    if (stage === 'appended' || stage === 'committed') trap.at('sink', stage)
  },
})
try {
  await sink.run(stop.signal)
} finally {
  await sink.close()
  await folder.close()
}
