import { setImmediate } from 'node:timers/promises'
import type { LogRecord, Position } from '../infra/log/port/log.ts'
import { decodeSoon } from '../infra/runtime/execute/decode-record.ts'
import { ForeignRecordError } from '../infra/runtime/internal/foreign-record.ts'
import { deadLetterIn } from '../infra/runtime/internal/internal-records.ts'
import { DEAD_LETTERS_TOPIC } from '../infra/runtime/internal/internal-topics.ts'
import { headerOf, readJson } from '../infra/runtime/internal/json-records.ts'
import { plainPlace, referencingEvent } from '../infra/runtime/watch/plain-event.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { type Catalogue, catalogueOf } from '../schemas/declare/registry.ts'
import { PoisonError } from '../schemas/wire/codec.ts'
import { readInOrder } from './read-in-order.ts'
import { type Ends, ReadPositions } from './read-positions.ts'
import { RecordBatch } from './record-batch.ts'
import { Rereading, type RereadPass } from './rereading.ts'
import { Retrying } from './retrying.ts'
import type { LoadedOnce, PlacedSink, SinkHealth } from './sink.ts'
import type { SinkOpening } from './sink-kind.ts'
import { startAgain } from './sink-place.ts'
import { UnloadedRecordError } from './unloaded-record.ts'
import {
  type Place,
  type UnreadableCounts,
  UnreadableNews,
  type UnreadableRecord,
  unreadableTotal,
} from './unreadable-record.ts'
import { wrongLog } from './wrong-log.ts'

/** Where a `RecordSink` writes: all that a new sink of this kind has to implement. */
export interface RecordStore {
  /** As of the last commit; called when the sink is opened, and after each commit, which may have failed. */
  stored(): StoredSoFar
  /**
   * Some of the listed unreadable records, as of the last commit, sorted by topic, partition and offset.
   *
   * @param after the place before the first of them; undefined: from the first one on
   * @param most how many at most
   */
  unreadable(after: Place | undefined, most: number): Promise<readonly UnreadableRecord[]>
  /**
   * Stores the batch's records, changes the list of the unreadable, and moves the positions: all of it or nothing,
   * wherever the process is killed.
   *
   * @param positions of every partition, not only of those in the batch
   * @throws Error of the disk: the batch is read and committed again
   */
  commit(batch: RecordBatch, positions: readonly Position[]): Promise<void>
  close(): void
}

export interface StoredSoFar {
  readonly positions: readonly Position[]
  /** How many unreadable records of each topic are listed. */
  readonly unreadable: UnreadableCounts
}

export interface RecordSinkOptions extends SinkOpening {
  /** As its `SinkKind` has it. */
  readonly name: string
  /** The subject of messages: `the JSON Lines sink`. */
  readonly who: string
  /** The file or folder, for messages. */
  readonly place: string
  readonly store: RecordStore
}

const DEFAULT_BATCH_BYTES = 4 * 2 ** 20
/** Rows written out take more room than in Arrow, where columns that are null take none. */
const BATCH_CHARACTERS = 8 * 2 ** 20
/** It runs in the workers' process: after so many records it lets them have their turn. */
const YIELD_RECORDS = 64
const DEFAULT_POLL_MS = 200

/** Stores every record of the event topics, and every dead letter, as JSON. It runs in the workers' process. */
export class RecordSink implements PlacedSink {
  readonly name: string
  readonly #options: RecordSinkOptions
  readonly #vocabulary: Catalogue
  readonly #topics: readonly string[]
  readonly #positions: ReadPositions
  readonly #rereading: Rereading<RecordBatch>
  readonly #retrying: Retrying
  readonly #news: UnreadableNews
  #unreadable: UnreadableCounts
  /** Records since the last turn of the workers. */
  #taken = 0
  #compared = false
  #closed = false
  /** The work that runs now; passes never overlap. */
  #turn: Promise<unknown> = Promise.resolve()

  /** @param options.store is closed with the sink */
  constructor(options: RecordSinkOptions) {
    this.#options = options
    const { name, catalogue, log, who, place, store, poll_ms = DEFAULT_POLL_MS, report } = options
    this.name = name
    this.#vocabulary = catalogueOf(catalogue)
    this.#topics = [...catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC]
    this.#positions = new ReadPositions(log, async (misplaced) => {
      throw wrongLog(place, log, misplaced, `To restart: ${startAgain(name, place)}.`)
    })
    const { positions, unreadable } = store.stored()
    this.#positions.reload(positions)
    this.#unreadable = unreadable
    this.#rereading = new Rereading({
      ...{ log, positions: this.#positions },
      list: { counts: () => this.#unreadable, list: (after, most) => store.unreadable(after, most) },
      newBatch: () => new RecordBatch(),
      isFull: (batch) => this.#isFull(batch),
    })
    this.#retrying = new Retrying({ who, poll_ms, report })
    this.#news = new UnreadableNews(who, (count) => this.unreadableText(count), report, unreadableTotal(unreadable))
  }

  get health(): SinkHealth {
    const { trouble, retries } = this.#retrying
    return { trouble, retries, unreadable: this.#unreadable }
  }

  unreadableText(count: number): string {
    const { name, place } = this.#options
    const which = count === 1 ? 'record, which is' : 'records, which are'
    const list = `./plumbline dlq list --processor ${name} --${name} ${place}`
    return `${count} ${which} not stored and read again now and then; see: ${list}`
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#retrying.run(
      () => this.#inTurn(() => this.#pass('when due', signal)),
      signal,
      () => this.#closed,
    )
  }

  loadOnce(signal?: AbortSignal): Promise<LoadedOnce> {
    return this.#inTurn(async () => {
      const records = await this.#pass('all', signal)
      return { records, caught_up: (await this.#positions.lag(this.#topics)) === 0n }
    })
  }

  reread(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#rereading.all(this.#rereadPass(await this.#ends(), undefined))
      this.#news.now(this.#unreadable)
    })
  }

  lag(): Promise<bigint> {
    return this.#inTurn(() => this.#positions.lag(this.#topics))
  }

  async close(): Promise<void> {
    await this.#turn
    if (!this.#closed) this.#options.store.close()
    this.#closed = true
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(() => {
      if (this.#closed) throw new Error(`${this.#options.place}: the sink is closed`)
      return work()
    })
    this.#turn = turn.catch(() => {})
    return turn
  }

  /**
   * @param reread which unreadable records are reread
   * @returns how many records were stored, listed as unreadable, or taken off that list
   */
  async #pass(reread: 'all' | 'when due', signal: AbortSignal | undefined): Promise<number> {
    const ends = await this.#ends()
    const rereading = this.#rereadPass(ends, signal)
    const { log, batch_bytes = DEFAULT_BATCH_BYTES } = this.#options
    const isFull = (batch: RecordBatch) => this.#isFull(batch)
    const reading = { log, positions: this.#positions, batch_bytes, isFull }
    let records = reread === 'all' ? await this.#rereading.all(rereading) : await this.#rereading.whenDue(rereading)
    for (let is_last = false; !is_last && !signal?.aborted; ) {
      const batch = new RecordBatch()
      is_last = await readInOrder(reading, batch, ends, rereading.take)
      if (batch.positions.length > 0) {
        await this.#positions.compareAgain(batch.positions)
        await this.#commit(batch)
      }
      records += batch.records
    }
    this.#news.now(this.#unreadable)
    return records
  }

  /** The ends of the topics that exist. @throws WrongLogError */
  async #ends(): Promise<Ends> {
    await this.#positions.compare(this.#compared ? 'by id' : 'in full')
    this.#compared = true
    return await this.#positions.endsOf(this.#topics.filter((topic) => this.#positions.topics.has(topic)))
  }

  #isFull({ bytes, characters }: RecordBatch): boolean {
    const { batch_bytes = DEFAULT_BATCH_BYTES } = this.#options
    return bytes >= batch_bytes || characters >= BATCH_CHARACTERS
  }

  #rereadPass(ends: Ends, signal: AbortSignal | undefined): RereadPass<RecordBatch> {
    const take = async (record: LogRecord, batch: RecordBatch) => {
      const is_stored = await this.#take(record, batch, ends)
      if (++this.#taken % YIELD_RECORDS === 0) await setImmediate()
      return is_stored
    }
    return { topics: new Set(ends.keys()), take, commit: (batch) => this.#commit(batch), signal }
  }

  /**
   * @returns whether the record is in the batch; otherwise the batch has the reason
   * @throws UnloadedRecordError when the reason is not the record itself: nothing is committed.
   */
  async #take(record: LogRecord, batch: RecordBatch, ends: Ends): Promise<boolean> {
    const { topic } = record
    const partitions = ends.get(topic)?.length ?? 1
    try {
      if (topic === DEAD_LETTERS_TOPIC) {
        deadLetterIn(record, partitions)
        batch.add(record, { ...plainPlace(record), rows: [readJson(record)] })
        return true
      }
      const decoded = decodeSoon(record, this.#vocabulary, partitions, this.#options.blobs)
      const event = decoded instanceof Promise ? await decoded : decoded
      batch.add(record, referencingEvent(record, this.#vocabulary.get(topic) as EventType, event))
      return true
    } catch (cause) {
      if (!(cause instanceof PoisonError || cause instanceof ForeignRecordError))
        throw new UnloadedRecordError(record, cause)
      batch.addUnreadable(topic, record.partition, record.offset, headerOf(record, 'ce_id') ?? null, cause.message)
      return false
    }
  }

  async #commit(batch: RecordBatch): Promise<void> {
    const { store } = this.#options
    try {
      await store.commit(batch, this.#positions.moved(batch.positions))
    } finally {
      const { positions, unreadable } = store.stored()
      this.#positions.reload(positions)
      this.#unreadable = unreadable
    }
  }
}
