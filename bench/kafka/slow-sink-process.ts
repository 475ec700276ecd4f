/** A DuckDB sink that takes a second for each of its transactions: `node slow-sink-process.ts LOG FILE`. */
import { setTimeout as wait } from 'node:timers/promises'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { openDuckDbSink } from '../../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'

const [address = '', file = ''] = process.argv.slice(2)
const log = await openKafkaLog({ address })
const sink = await openDuckDbSink({
  file,
  log,
  catalogue,
  views,
  serve: false,
  observe: (stage) => (stage === 'appended' ? wait(1_000) : undefined),
})
await sink.run(new AbortController().signal)
