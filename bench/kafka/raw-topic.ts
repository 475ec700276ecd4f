import { randomBytes } from 'node:crypto'
import type { Log, NewRecord } from '../../infra/log/port/log.ts'
import { PARTITIONS } from '../tower-log.ts'

/** Records with incompressible values of `bytes` bytes, a key and no headers. */
export function rawRecords(count: number, bytes: number): NewRecord[] {
  return Array.from({ length: count }, (_, at) => ({ key: `k${at % 64}`, headers: [], value: randomBytes(bytes) }))
}

/** Creates a topic of four partitions and spreads the records over them evenly. */
export async function fill(log: Log, name: string, records: readonly NewRecord[]): Promise<void> {
  await log.createTopics([{ name, partitions: PARTITIONS }])
  const producer = await log.producer({ transactional_id: `fill-${name}` })
  for (let from = 0; from < records.length; from += 1_000) {
    const transaction = producer.begin()
    records.slice(from, from + 1_000).forEach((record, at) => {
      transaction.append(name, at % PARTITIONS, record)
    })
    await transaction.commit()
  }
  await producer.close()
}

export const NOT_COMPRESSED = { ...process.env, PLUMBLINE_KAFKA_COMPRESSION: 'none' }

export const sizeName = (bytes: number) => (bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`)
