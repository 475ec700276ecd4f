import { lmdb } from '../infra/log/lmdb/lmdb-js.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { NewRecord } from '../infra/log/port/log.ts'
import { benchFolder } from './folder.ts'
import type { Measure, OpenBench } from './pairs.ts'
import { recordsOf } from './records.ts'

const BATCH = 500

/** Transactions of 500 records; the ceiling puts the same bytes (key, headers, value) as one value under a counter. */
export const open: OpenBench = async ({ quick }) => {
  const folder = await benchFolder()
  const closing: (() => Promise<void>)[] = []
  const measures: Measure[] = []
  for (const durability of ['survives_kill_only', 'flushed'] as const) {
    for (const [bytes, batches] of [
      [256, 20],
      [16_384, 4],
    ] as const) {
      const records = recordsOf(BATCH, bytes)
      const turns = quick ? 1 : batches
      const log = await openLmdbLog({ dir: folder.fresh('log'), durability })
      await log.createTopics([{ name: 'bench', partitions: 1 }])
      const producer = await log.producer({ transactional_id: 'bench' })
      const raw = lmdb.open<Buffer, number>({
        path: folder.fresh('raw'),
        encoding: 'binary',
        mapSize: 2 ** 40,
        overlappingSync: false,
        noSync: durability === 'survives_kill_only',
      })
      closing.push(
        () => log.close(),
        () => raw.close(),
      )
      const values = records.map(inOnePiece)
      let next = 0
      measures.push({
        what: `append ${bytes === 256 ? '256 B' : '16 KiB'} with ${records[0]?.headers.length} headers, 500 to a transaction, ${durability}`,
        unit: 'records',
        seconds: 'wall',
        goal: 0.6,
        candidate: {
          what: 'LMDB log',
          async run() {
            for (let turn = 0; turn < turns; turn++) {
              const transaction = producer.begin()
              for (const record of records) transaction.append('bench', 0, record)
              await transaction.commit()
            }
            return turns * BATCH
          },
        },
        ceiling: {
          what: 'lmdb-js put of the same bytes',
          run() {
            for (let turn = 0; turn < turns; turn++) {
              raw.transactionSync(() => {
                for (const value of values) raw.putSync(next++, value)
              })
            }
            return turns * BATCH
          },
        },
      })
    }
  }
  return {
    measures,
    async close() {
      for (const close of closing) await close()
      await folder.remove()
    },
  }
}

function inOnePiece({ key, headers, value }: NewRecord): Buffer {
  const text = (key ?? '') + headers.map((header) => header.name + header.value).join('')
  return Buffer.concat([Buffer.from(text), value ?? Buffer.alloc(0)])
}
