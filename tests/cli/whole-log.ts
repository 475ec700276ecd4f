import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import type { Log, LogRecord, NewRecord } from '../../infra/log/port/log.ts'
import { headerOf, readRange } from '../../infra/runtime/internal/json-records.ts'

/** Opens the log in this folder, calls `use`, and closes the log. */
export const withLog = <T>(dir: string, use: (log: Log) => Promise<T>): Promise<T> => opened(dir, 'write', use)

/** As `withLog`, for reading only: a fraction of the processor time, since a writer is a thread with its own modules. */
export const readLog = <T>(dir: string, use: (log: Log) => Promise<T>): Promise<T> => opened(dir, 'read', use)

async function opened<T>(dir: string, access: 'read' | 'write', use: (log: Log) => Promise<T>): Promise<T> {
  const log = await openLmdbLog({ dir, access })
  try {
    return await use(log)
  } finally {
    await log.close()
  }
}

/** Every record of a topic, partition after partition. */
export async function recordsOf(log: Log, topic: string): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  const { length } = await log.endOffsets(topic)
  for (let partition = 0; partition < length; partition++) {
    for await (const record of readRange(log, topic, partition, 0n)) records.push(record)
  }
  return records
}

/**
 * The public content of a log as a sorted list of texts: topic, partition, key, CloudEvents headers and value of every
 * record of every public topic. Offsets and append times differ between copies and are left out.
 */
export async function everythingEmitted(dir: string): Promise<string[]> {
  return readLog(dir, async (log) => {
    const emitted: string[] = []
    for (const { name } of await log.topics()) {
      if (name.startsWith('_')) continue
      for (const { partition, key, headers, value } of await recordsOf(log, name)) {
        const bytes = value === null ? null : Buffer.from(value).toString('base64')
        emitted.push(
          JSON.stringify([name, partition, key, headers.map((header) => [header.name, header.value]), bytes]),
        )
      }
    }
    return emitted.sort()
  })
}

/**
 * Copies a whole log, record by record, into a new folder. `change` may replace a record, or drop it by returning
 * undefined; `more` is appended at the end.
 */
export async function copyLog(
  from: string,
  to: string,
  change: (record: LogRecord) => NewRecord | undefined,
  more: readonly (NewRecord & { readonly topic: string; readonly partition: number })[] = [],
): Promise<void> {
  await readLog(from, (source) =>
    withLog(to, async (copy) => {
      const topics = await source.topics()
      await copy.createTopics(topics)
      const producer = await copy.producer({ transactional_id: 'copy' })
      for (const { name } of topics) {
        const records = await recordsOf(source, name)
        if (records.length === 0) continue
        const transaction = producer.begin()
        for (const record of records) {
          const changed = change(record)
          if (changed === undefined) continue
          const { key, headers, value } = changed
          transaction.append(name, record.partition, { key, headers, value })
        }
        await transaction.commit()
      }
      const known = new Set(topics.map(({ name }) => name))
      const others = new Set(more.map(({ topic }) => topic).filter((topic) => !known.has(topic)))
      await copy.createTopics([...others].map((name) => ({ name, partitions: 1 })))
      for (const { topic, partition, key, headers, value } of more) {
        const transaction = producer.begin()
        transaction.append(topic, partition, { key, headers, value })
        await transaction.commit()
      }
      await producer.close()
    }),
  )
}

export const idOf = (record: LogRecord): string => headerOf(record, 'ce_id') ?? ''
