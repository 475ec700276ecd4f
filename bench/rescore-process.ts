import { rescore } from '../pipeline/rescore.ts'
/**
 * A process of its own for the benchmark of rescoring, so that its memory is its own:
 *
 *   node bench/rescore-process.ts rescore|decode LOG REWARD_NAME
 *
 * Prints `ready`, waits for a line, works, and prints how many completions it has processed.
 */

import { once } from 'node:events'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../infra/log/port/log.ts'
import { decodeRecord } from '../infra/runtime/execute/decode-record.ts'
import { readRange } from '../infra/runtime/internal/json-records.ts'
import { readRewardFile } from '../pipeline/reward-file.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { noBlobs, PARTITIONS, vocabulary } from './tower-log.ts'

const REWARD = new URL('./reward.ts', import.meta.url).pathname

async function decodeAll(log: Log): Promise<number> {
  let rows = 0
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for await (const record of readRange(log, completionsScored.type, partition, 0n)) {
      const { data } = await decodeRecord(record, vocabulary, PARTITIONS, noBlobs)
      rows += (data as readonly unknown[]).length
    }
  }
  return rows
}

const [work, dir, name] = process.argv.slice(2) as [string, string, string]
const log = await openLmdbLog({ dir })
const reward = await readRewardFile(REWARD, { name, dialect: 'paper' })
process.stdout.write('ready\n')
await once(process.stdin, 'data')
const rows =
  work === 'rescore'
    ? (await rescore({ log, blobs: noBlobs }, reward, { partitions: PARTITIONS })).rows
    : await decodeAll(log)
process.stdout.write(`${rows}\n`)
await log.close()
process.exit(0)
