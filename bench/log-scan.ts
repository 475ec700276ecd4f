import { lmdb } from '../infra/log/lmdb/lmdb-js.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { benchFolder } from './folder.ts'
import type { Measure, OpenBench } from './pairs.ts'
import { recordsOf } from './records.ts'

const MIB = 2 ** 20

/** All records from first to last, a megabyte at a time; the ceiling's values are the same keys, headers and values. */
export const open: OpenBench = async ({ quick }) => {
  const folder = await benchFolder()
  const closing: (() => Promise<void>)[] = []
  const measures: Measure[] = []
  for (const [bytes, count] of [
    [256, 40_000],
    [16_384, 4_000],
  ] as const) {
    const records = quick ? 500 : count
    const log = await openLmdbLog({ dir: folder.fresh('log'), durability: 'survives_kill_only' })
    await log.createTopics([{ name: 'bench', partitions: 1 }])
    const raw = lmdb.open<Buffer, number>({
      path: folder.fresh('raw'),
      encoding: 'binary',
      mapSize: 2 ** 40,
      noSync: true,
    })
    closing.push(
      () => log.close(),
      () => raw.close(),
    )
    const producer = await log.producer({ transactional_id: 'bench' })
    for (let from = 0; from < records; from += 500) {
      const batch = recordsOf(500, bytes)
      const transaction = producer.begin()
      for (const record of batch) transaction.append('bench', 0, record)
      await transaction.commit()
      raw.transactionSync(() => {
        for (const [at, { key, headers, value }] of batch.entries()) {
          const text = (key ?? '') + headers.map((header) => header.name + header.value).join('')
          raw.putSync(from + at, Buffer.concat([Buffer.from(text), value ?? Buffer.alloc(0)]))
        }
      })
    }
    measures.push({
      what: `scan ${bytes === 256 ? '256 B' : '16 KiB'} records, keys and headers decoded`,
      unit: 'records',
      seconds: 'wall',
      goal: 0.6,
      candidate: {
        what: 'LMDB log',
        async run() {
          let seen = 0
          for (let from = 0n; ; ) {
            const { records: read, next } = await log.read({ topic: 'bench', partition: 0, from, max_bytes: MIB })
            if (next === from) return seen
            for (const { value } of read) seen += value === null ? 0 : 1
            from = next
          }
        },
      },
      ceiling: {
        what: 'lmdb-js range of the same bytes',
        run() {
          let seen = 0
          for (const { value } of raw.getRange()) seen += value.length > 0 ? 1 : 0
          return seen
        },
      },
    })
  }
  return {
    measures,
    async close() {
      for (const close of closing) await close()
      await folder.remove()
    },
  }
}
