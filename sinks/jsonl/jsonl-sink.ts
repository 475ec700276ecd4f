import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { decodeSoon } from '../../infra/runtime/execute/decode-record.ts'
import { ForeignRecordError } from '../../infra/runtime/internal/foreign-record.ts'
import { deadLetterIn } from '../../infra/runtime/internal/internal-records.ts'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { headerOf, readJson } from '../../infra/runtime/internal/json-records.ts'
import { plainPlace, referencingEvent } from '../../infra/runtime/watch/plain-event.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { type Catalogue, catalogueOf } from '../../schemas/declare/registry.ts'
import { PoisonError } from '../../schemas/wire/codec.ts'
import { readInOrder } from '../read-in-order.ts'
import { type Ends, ReadPositions } from '../read-positions.ts'
import { Retrying } from '../retrying.ts'
import type { LoadedOnce, Sink, SinkHealth } from '../sink.ts'
import { UnloadedRecordError } from '../unloaded-record.ts'
import { unreadableTotal } from '../unreadable-counts.ts'
import { wrongLog } from '../wrong-log.ts'
import { fileOf, JsonlBatch, UNREADABLE } from './jsonl-batch.ts'
import { type CommitStage, JsonlFolder } from './jsonl-folder.ts'
import { makeAgain } from './positions-file.ts'

export interface JsonlSinkOptions {
  /** Made if it does not exist. */
  readonly dir: string
  readonly log: Log
  /** Of large columns. They are read, to tell whether the event can be, and not written. */
  readonly blobs: Blobs
  readonly catalogue: readonly EventType[]
  /** Bound of one commit: encoded bytes, as in the log. */
  readonly batch_bytes?: number
  /** How long `run` waits before it looks for new records. */
  readonly poll_ms?: number
  /** Called with messages for a person. */
  readonly report?: (message: string) => void
  /** Called at each stage of a commit; for tests that kill the process there. */
  readonly observe?: (stage: CommitStage) => unknown
}

const DEFAULT_BATCH_BYTES = 4 * 2 ** 20
/** Rows written out take more room than in Arrow, where columns that are null take none. */
const BATCH_CHARACTERS = 8 * 2 ** 20
/** It runs in the workers' process: after so many records it lets them have their turn. */
const YIELD_RECORDS = 64
const DEFAULT_POLL_MS = 200

/**
 * Opens the folder as its one writer.
 *
 * @throws JsonlFolderBusyError; JsonlFolderError when the folder is not as this sink left it.
 */
export async function openJsonlSink(options: JsonlSinkOptions): Promise<JsonlSink> {
  const names = [...options.catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC, UNREADABLE]
  return new JsonlSink(options, await JsonlFolder.open(options.dir, names.map(fileOf)))
}

/**
 * Writes every record of the event topics as one line of JSON, as `tail --json` prints it, except that large columns
 * stay references. A file for each event type, `dead_letters.jsonl`, and `unreadable.jsonl` for records that are no
 * event: these are not read again. An event that the log holds twice is two lines with the same id.
 */
export class JsonlSink implements Sink {
  readonly name = 'jsonl'
  readonly #options: JsonlSinkOptions
  readonly #folder: JsonlFolder
  readonly #vocabulary: Catalogue
  readonly #topics: readonly string[]
  readonly #positions: ReadPositions
  readonly #retrying: Retrying
  #compared = false
  #closed = false
  /** The work that runs now; passes never overlap. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: JsonlSinkOptions, folder: JsonlFolder) {
    this.#options = options
    this.#folder = folder
    const { catalogue, log, dir, poll_ms = DEFAULT_POLL_MS, report } = options
    this.#vocabulary = catalogueOf(catalogue)
    this.#topics = [...catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC]
    this.#positions = new ReadPositions(log, async (misplaced) => {
      throw wrongLog(dir, log, misplaced, `To restart: ${makeAgain(dir)}.`)
    })
    this.#positions.reload(folder.stored.positions)
    this.#retrying = new Retrying({ who: 'the JSON Lines sink', poll_ms, report })
  }

  get health(): SinkHealth {
    const { trouble, retries } = this.#retrying
    return { trouble, retries, unreadable: this.#folder.stored.unreadable }
  }

  unreadableText(count: number): string {
    const file = join(this.#options.dir, fileOf(UNREADABLE))
    return `${count} ${count === 1 ? 'record, which is' : 'records, which are'} listed with the reason in ${file}`
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#retrying.run(
      () => this.#inTurn(() => this.#pass(signal)),
      signal,
      () => this.#closed,
    )
  }

  loadOnce(signal?: AbortSignal): Promise<LoadedOnce> {
    return this.#inTurn(async () => {
      const records = await this.#pass(signal)
      return { records, caught_up: (await this.#positions.lag(this.#topics)) === 0n }
    })
  }

  lag(): Promise<bigint> {
    return this.#inTurn(() => this.#positions.lag(this.#topics))
  }

  async close(): Promise<void> {
    await this.#turn
    if (!this.#closed) this.#folder.close()
    this.#closed = true
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(() => {
      if (this.#closed) throw new Error(`${this.#options.dir}: the sink is closed`)
      return work()
    })
    this.#turn = turn.catch(() => {})
    return turn
  }

  /** @returns how many records were read and committed */
  async #pass(signal: AbortSignal | undefined): Promise<number> {
    const { log, batch_bytes = DEFAULT_BATCH_BYTES } = this.#options
    await this.#positions.compare(this.#compared ? 'by id' : 'in full')
    this.#compared = true
    const ends = await this.#positions.endsOf(this.#topics.filter((topic) => this.#positions.topics.has(topic)))
    const isFull = ({ bytes, characters }: JsonlBatch) => bytes >= batch_bytes || characters >= BATCH_CHARACTERS
    const reading = { log, positions: this.#positions, batch_bytes, isFull }
    let taken = 0
    const take = async (record: LogRecord, batch: JsonlBatch) => {
      await this.#take(record, batch, ends)
      if (++taken % YIELD_RECORDS === 0) await setImmediate()
    }
    let records = 0
    for (let is_last = false; !is_last && !signal?.aborted; ) {
      const batch = new JsonlBatch()
      is_last = await readInOrder(reading, batch, ends, take)
      if (batch.positions.length > 0) await this.#commit(batch)
      records += batch.records
    }
    return records
  }

  /** @throws UnloadedRecordError when the reason is not the record itself: nothing is committed. */
  async #take(record: LogRecord, batch: JsonlBatch, ends: Ends): Promise<void> {
    const { topic } = record
    const partitions = ends.get(topic)?.length ?? 1
    try {
      if (topic === DEAD_LETTERS_TOPIC) {
        deadLetterIn(record, partitions)
        batch.add(topic, { ...plainPlace(record), rows: [readJson(record)] })
        return
      }
      const decoded = decodeSoon(record, this.#vocabulary, partitions, this.#options.blobs)
      const event = decoded instanceof Promise ? await decoded : decoded
      batch.add(topic, referencingEvent(record, this.#vocabulary.get(topic) as EventType, event))
    } catch (cause) {
      if (!(cause instanceof PoisonError || cause instanceof ForeignRecordError))
        throw new UnloadedRecordError(record, cause)
      batch.addUnreadable(topic, record.partition, record.offset, headerOf(record, 'ce_id') ?? null, cause.message)
    }
  }

  async #commit(batch: JsonlBatch): Promise<void> {
    const { report, observe } = this.#options
    await this.#positions.compareAgain(batch.positions)
    const unreadable = { ...this.#folder.stored.unreadable }
    for (const [topic, count] of batch.unreadable) unreadable[topic] = (unreadable[topic] ?? 0) + count
    try {
      await this.#folder.commit(batch.lines, { positions: this.#positions.moved(batch.positions), unreadable }, observe)
    } finally {
      this.#positions.reload(this.#folder.stored.positions)
    }
    if (batch.unreadable.size === 0) return
    report?.(`the JSON Lines sink cannot read ${this.unreadableText(unreadableTotal(unreadable))}`)
  }
}
