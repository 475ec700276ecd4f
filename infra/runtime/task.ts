import { setImmediate } from 'node:timers/promises'
import type { Processor } from '../../processors/processor.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Event } from '../../schemas/event.ts'
import { rowsOf } from '../../schemas/event.ts'
import type { Partitions } from '../../schemas/partitions.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { LogRecord } from '../log/log.ts'
import { decodeSoon } from './decode-record.ts'
import type { Output } from './emission.ts'
import type { Execution, Failure } from './execution.ts'
import type { DeadLetter, JournalEntry } from './internal-topics.ts'

/** What one task has computed and not committed yet. */
export interface Unsaved {
  /** Less the events themselves, which are larger than their bytes. */
  outputs: Pick<Output, 'type' | 'encoded'>[]
  dead_letters: DeadLetter[]
  /** Run-length interleaving of the inputs, as [topic, count]. */
  runs: [string, number][]
  records: number
  /** What came from outside and not from the log. */
  results: number
  bytes: number
}

/** How far ahead of the host's clock an event of the wall clock may be before its time counts as wrong. Inferred. */
const FUTURE_HORIZON_MS = 24 * 3_600_000

/** Raw bytes of a dead letter beyond this go to the blob store. */
const LARGE_BYTES = 64 * 1024

const FOLD_SLICE = 16

/** After so many records the process looks at its sockets: what was fetched meanwhile, and the commit under way. */
const YIELD_RECORDS = 128

const nothing = (): Unsaved => ({ outputs: [], dead_letters: [], runs: [], records: 0, results: 0, bytes: 0 })

/** One processor on one partition of the log: records in, and what must be committed together with having read them. */
export class Task {
  readonly partition: number
  readonly execution: Execution
  readonly #processor: Processor
  readonly #vocabulary: Catalogue
  readonly #partitions: Partitions
  readonly #blobs: Blobs
  readonly #now_ms: () => number
  #unsaved = nothing()
  /** Changelog records since the last snapshot. */
  changes_since_snapshot = 0

  constructor(options: {
    readonly processor: Processor
    readonly partition: number
    readonly partitions: Partitions
    readonly vocabulary: Catalogue
    readonly blobs: Blobs
    /** With its state restored. */
    readonly execution: Execution
    readonly now_ms?: () => number
  }) {
    this.partition = options.partition
    this.#processor = options.processor
    this.#partitions = options.partitions
    this.#vocabulary = options.vocabulary
    this.#blobs = options.blobs
    this.execution = options.execution
    this.#now_ms = options.now_ms ?? Date.now
  }

  get unsaved(): Readonly<Unsaved> {
    return this.#unsaved
  }

  /** @throws whatever is transient (a blob store away); the caller retries the same records after a restore. */
  async process(records: readonly LogRecord[]): Promise<void> {
    // A fold takes one event at a time: what it has taken need not live until the last of a long poll is decoded.
    const slice = this.#processor.shape === 'transform' ? Math.max(FOLD_SLICE, this.#processor.max_batch) : FOLD_SLICE
    for (let at = 0, since_yield = 0; at < records.length; at += slice) {
      await this.#processSlice(records.slice(at, at + slice))
      since_yield += slice
      if (since_yield < YIELD_RECORDS) continue
      since_yield = 0
      await setImmediate()
    }
  }

  async #processSlice(records: readonly LogRecord[]): Promise<void> {
    const unsaved = this.#unsaved
    const events: Event[] = []
    /** Of each event, the record that it came in. */
    const origins: LogRecord[] = []
    for (const record of records) {
      const last = unsaved.runs.at(-1)
      if (last?.[0] === record.topic) last[1]++
      else unsaved.runs.push([record.topic, 1])
      unsaved.records++
      try {
        const decoded = decodeSoon(record, this.#vocabulary, this.#partitions, this.#blobs)
        const event = decoded instanceof Promise ? await decoded : decoded
        this.#refuseFuture(event)
        origins.push(record)
        events.push(event)
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error
        unsaved.dead_letters.push(await this.#deadLetter(record, { failure: 'poison', error: error as Error }))
      }
    }
    const { outputs, failures } = await this.execution.process(events)
    this.#hold(outputs)
    for (const failure of failures) {
      const record = origins[events.indexOf(failure.event)]
      if (record === undefined) throw failure.error
      unsaved.dead_letters.push(await this.#deadLetter(record, failure, failure.event))
    }
  }

  /** The one look at the host's clock; what it refuses is a dead letter, and a rebuild leaves dead letters out. */
  #refuseFuture({ clock, time, source }: Event): void {
    if (clock !== 'wall') return
    const ahead_ms = Date.parse(time) - this.#now_ms()
    if (ahead_ms <= FUTURE_HORIZON_MS) return
    throw new PoisonError(
      `ce_time ${time} is ${Math.round(ahead_ms / 3_600_000)} h ahead of this host's clock, at most 24 h are taken; look at the clock of ${source}`,
    )
  }

  /**
   * A result from outside. No record of the log, so it is in no journal and makes no dead letter.
   * @returns why it could not be taken: the state is as before then, and whoever brought it asks again.
   */
  async record(result: Event): Promise<Error | undefined> {
    const { outputs, failures } = await this.execution.process([result])
    const [failure] = failures
    if (failure !== undefined) return failure.error
    this.#hold(outputs)
    this.#unsaved.results++
    return undefined
  }

  #hold(outputs: readonly Output[]): void {
    for (const { type, encoded } of outputs) {
      this.#unsaved.outputs.push({ type, encoded })
      this.#unsaved.bytes += encoded.value.byteLength
    }
  }

  journalEntry(): JournalEntry {
    const topics = [...new Set(this.#unsaved.runs.map(([topic]) => topic))]
    return {
      version: this.#processor.version,
      variant: this.#processor.variant,
      topics,
      runs: this.#unsaved.runs.map(([topic, count]) => [topics.indexOf(topic), count] as const),
    }
  }

  /** Hands over what is to be committed; what comes from now on is in the next commit. */
  takeUnsaved(): Unsaved {
    const taken = this.#unsaved
    this.#unsaved = nothing()
    return taken
  }

  async #deadLetter(
    record: LogRecord,
    failure: Pick<Failure, 'failure' | 'error'>,
    event?: Event,
  ): Promise<DeadLetter> {
    const large = record.value !== null && record.value.byteLength > LARGE_BYTES
    const header = (name: string) => record.headers.find((candidate) => candidate.name === name)?.value ?? null
    return {
      processor: this.#processor.name,
      failure: failure.failure,
      topic: record.topic,
      partition: record.partition,
      offset: String(record.offset),
      error: failure.error.message,
      ce_id: header('ce_id'),
      ce_type: header('ce_type'),
      rows: event === undefined ? null : rowsOf(event).length,
      key: record.key,
      headers: record.headers,
      value_base64: record.value === null || large ? null : Buffer.from(record.value).toString('base64'),
      value_blob:
        record.value !== null && large ? await this.#blobs.put(record.value, 'application/octet-stream') : null,
    }
  }
}
