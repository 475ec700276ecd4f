import type { Log, LogRecord } from '../../log/port/log.ts'
import { digestOf } from '../../log/port/seen.ts'
import { ForeignRecordError } from './foreign-record.ts'
import { skippedIn } from './internal-records.ts'
import { SKIPPED_TOPIC, type SkippedRecord } from './internal-topics.ts'
import { readRange, toJson } from './json-records.ts'

/** The records to skip. Looked up only when a record cannot be read, so a readable record is never skipped. */
export class SkippedRecords {
  readonly #places = new Set<string>()

  static async read(log: Log): Promise<SkippedRecords> {
    const found = new SkippedRecords()
    if (!(await log.topics()).some(({ name }) => name === SKIPPED_TOPIC)) return found
    for await (const record of readRange(log, SKIPPED_TOPIC, 0, 0n)) {
      try {
        found.#places.add(placeOf(skippedIn(record, 1)))
      } catch (error) {
        // It names no record to skip, and verify reports it.
        if (!(error instanceof ForeignRecordError)) throw error
      }
    }
    return found
  }

  has(record: LogRecord): boolean {
    return this.#places.size > 0 && this.#places.has(placeOf(entryOf(record)))
  }

  /** The same for a record that retention has removed. */
  hasRemoved(place: Place): boolean {
    return this.#places.has(placeOf({ ...place, offset: String(place.offset), digest: null }))
  }
}

interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

function entryOf({ topic, partition, offset, ...record }: LogRecord): Omit<SkippedRecord, 'error'> {
  return { topic, partition, offset: String(offset), digest: digestOf(record) }
}

const placeOf = ({ topic, partition, offset, digest }: Omit<SkippedRecord, 'error'>) =>
  `${topic} ${partition} ${digest ?? `at ${offset}`}`

/**
 * Makes every reader skip a record from now on.
 * @param record the record, or its place if retention has removed it
 * @returns false when readers already skip it
 */
export async function skipRecord(log: Log, record: LogRecord | Place, error: string): Promise<boolean> {
  await log.createTopics([{ name: SKIPPED_TOPIC, partitions: 1, retention: 'for_ever' }])
  const producer = await log.producer({ transactional_id: 'skip' })
  try {
    const known = await SkippedRecords.read(log)
    if ('value' in record ? known.has(record) : known.hasRemoved(record)) return false
    const { topic, partition, offset } = record
    const removed = { topic, partition, offset: String(offset), digest: null }
    const entry: SkippedRecord = { ...('value' in record ? entryOf(record) : removed), error }
    const transaction = producer.begin()
    transaction.append(SKIPPED_TOPIC, 0, { key: `${topic}/${partition}/${offset}`, headers: [], value: toJson(entry) })
    await transaction.commit()
    return true
  } finally {
    await producer.close()
  }
}
