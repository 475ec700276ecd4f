import { createHash } from 'node:crypto'
import type { Processor } from '../../../processors/processor.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import type { Log, LogRecord, NewRecord } from '../../log/port/log.ts'
import { deadLetterIn } from './internal-records.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from './internal-topics.ts'
import { headerOf } from './json-records.ts'
import { readEntries } from './read-entries.ts'

/**
 * The records that became dead letters of a task, for journal entries of earlier releases, which do not list them. In
 * the log where a dead letter was written, its offset is exact. In a copy, whose offsets differ, it stands for the
 * first record of its topic with its key, headers and bytes. A ce_id is not enough: a poison redelivery can share it
 * with a valid event, but has other bytes.
 */
export class DeadPlaces {
  readonly #places = new Set<string>()
  /** The number of dead letters, by topic and ce_id, then by content. */
  readonly #contents = new Map<string, Map<string, number>>()

  static async read(log: Log, processor: Processor, partition: number): Promise<DeadPlaces> {
    const dead = new DeadPlaces()
    const by_topic = new Map<string, DeadLetter[]>()
    // A foreign record is not one of this task's dead letters; `dlq list` reports it.
    const range = { onForeign: () => {} }
    for await (const { entry: letter } of readEntries(log, DEAD_LETTERS_TOPIC, partition, deadLetterIn, range)) {
      if (letter.processor !== processor.name || isTimer(letter, processor)) continue
      const letters = by_topic.get(letter.topic)
      if (letters === undefined) by_topic.set(letter.topic, [letter])
      else letters.push(letter)
    }
    for (const letters of by_topic.values()) {
      const is_here = await liesInItsPlace(log, letters.at(-1) as DeadLetter)
      for (const letter of letters) {
        if (is_here) dead.#places.add(`${letter.topic} ${letter.offset}`)
        else dead.#addContent(letter)
      }
    }
    return dead
  }

  #addContent(letter: DeadLetter): void {
    const at = `${letter.topic} ${letter.ce_id ?? ''}`
    const counts = this.#contents.get(at) ?? new Map<string, number>()
    this.#contents.set(at, counts)
    const content = contentOfLetter(letter)
    counts.set(content, (counts.get(content) ?? 0) + 1)
  }

  /** Whether this record is one of them. Call once for each record, in partition order. */
  take(record: LogRecord): boolean {
    if (this.#places.has(`${record.topic} ${record.offset}`)) return true
    const counts = this.#contents.get(`${record.topic} ${headerOf(record, 'ce_id') ?? ''}`)
    if (counts === undefined) return false
    const content = contentOf(record)
    const left = counts.get(content) ?? 0
    if (left === 0) return false
    counts.set(content, left - 1)
    return true
  }
}

/** A key of a fold failed to expire on this tick. The tick itself was processed. */
function isTimer({ topic, rows }: DeadLetter, processor: Processor): boolean {
  return topic === clockTicked.type && rows !== null && processor.shape !== 'transform'
}

/** If the last one is at its offset, so are the earlier ones: a copy shifts every record after the first change. */
async function liesInItsPlace(log: Log, letter: DeadLetter): Promise<boolean> {
  const { topic, partition } = letter
  const from = BigInt(letter.offset)
  const beginning = (await log.beginningOffsets(topic))[partition] ?? 0n
  if (from < beginning) return false
  const [record] = (await log.read({ topic, partition, from, max_bytes: 1 })).records
  return record?.offset === from && contentOf(record) === contentOfLetter(letter)
}

export function contentOf(record: NewRecord): string {
  return contentText(record, record.value === null ? null : sha256(record.value))
}

export function contentOfLetter(letter: DeadLetter): string {
  const { value_base64, value_blob } = letter
  const value = value_base64 === null ? (value_blob?.sha256 ?? null) : sha256(Buffer.from(value_base64, 'base64'))
  return contentText(letter, value)
}

const contentText = ({ key, headers }: Pick<NewRecord, 'key' | 'headers'>, value: string | null) =>
  JSON.stringify([key, headers.map(({ name, value: text }) => [name, text]), value])

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
