import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { CommitStage } from '../../sinks/duckdb/duckdb-batch.ts'
import { openDuckDbSink } from '../../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'

/**
 * Loads a log and kills itself with SIGKILL at a given point: `node killed-loader.ts FILE LOG STAGE COUNT`. It dies
 * when a transaction reaches STAGE for the COUNT-th time, and prints a line first.
 */
const [file = '', dir = '', stage = '', count = ''] = process.argv.slice(2)
let left = Number(count)
const log = await openLmdbLog({ dir, access: 'read' })
const sink = await openDuckDbSink({
  file,
  log,
  catalogue,
  views,
  batch_bytes: 2_000,
  observe: (now: CommitStage) => {
    if (now !== stage) return
    left -= 1
    if (left > 0) return
    process.stdout.write(`killed: ${stage}\n`, () => process.kill(process.pid, 'SIGKILL'))
    return new Promise(() => {}) // the transaction goes no further
  },
})
while (!(await sink.loadOnce()).caught_up);
await sink.close()
await log.close()
process.stdout.write('finished\n')
