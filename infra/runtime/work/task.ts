import { setImmediate } from 'node:timers/promises'
import { broadcastOf, type Processor } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { rowsOf } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { PoisonError } from '../../../schemas/wire/codec.ts'
import type { Blob } from '../../../schemas/wire/offload.ts'
import { type Partitions, partitionsOf } from '../../../schemas/wire/partitions.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import type { LogRecord } from '../../log/port/log.ts'
import { digestOf } from '../../log/port/seen.ts'
import { decodeSoon } from '../execute/decode-record.ts'
import type { Output } from '../execute/emission.ts'
import type { Execution, Failure } from '../execute/executed.ts'
import type { DeadLetter, JournalEntry } from '../internal/internal-topics.ts'
import { TakenSoFar } from '../internal/taken.ts'

/** The results of one task that are not committed yet. */
export interface Unsaved {
  /** Encoded only; decoded events would use more memory. */
  outputs: Pick<Output, 'type' | 'encoded'>[]
  /** What a transform put for these outputs. */
  blobs: Blob[]
  dead_letters: DeadLetter[]
  /** Run-length interleaving of the inputs, as [topic, count]. */
  runs: [string, number][]
  /** By topic, the last record that was read. */
  last: Map<string, LogRecord>
  taken: TakenSoFar
  records: number
  /** Results that arrived from outside, not from the log. */
  results: number
  bytes: number
}

/** How far a wall-clock event may be ahead of the host's clock before its time counts as wrong. Inferred. */
const FUTURE_HORIZON_MS = 24 * 3_600_000

/** Larger values of dead letters are written to the blob store. */
const LARGE_BYTES = 64 * 1024

const FOLD_SLICE = 16

/** After this many records the task yields to the event loop, so that fetches and the current commit make progress. */
const YIELD_RECORDS = 128

const nothing = (): Unsaved => ({
  outputs: [],
  blobs: [],
  dead_letters: [],
  runs: [],
  last: new Map(),
  taken: new TakenSoFar(),
  records: 0,
  results: 0,
  bytes: 0,
})

/** One processor on one partition of the log: turns records into the results to commit with their positions. */
export class Task {
  readonly partition: number
  readonly execution: Execution
  readonly #processor: Processor
  readonly #vocabulary: Catalogue
  readonly #partitions: Partitions
  readonly #blobs: Blobs
  readonly #now_ms: () => number
  /** Types of which only the copy in the partition of the key is processed. */
  readonly #at_home: ReadonlySet<string>
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
    readonly at_home?: boolean
  }) {
    this.partition = options.partition
    this.#processor = options.processor
    this.#partitions = options.partitions
    this.#vocabulary = options.vocabulary
    this.#blobs = options.blobs
    this.execution = options.execution
    this.#now_ms = options.now_ms ?? Date.now
    this.#at_home = new Set(options.at_home ? keyedInputs(options.processor).map(({ type }) => type) : [])
  }

  get unsaved(): Readonly<Unsaved> {
    return this.#unsaved
  }

  /** @throws transient errors (unreachable blob store); the caller retries the same records after a restore */
  async process(records: readonly LogRecord[]): Promise<void> {
    // A fold processes one event at a time: small slices let decoded events be freed before a long poll ends.
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
    /** The record of each event, and the ordinal of that record in this commit. */
    const origins: { readonly record: LogRecord; readonly ordinal: number }[] = []
    for (const record of records) {
      const last = unsaved.runs.at(-1)
      if (last?.[0] === record.topic) last[1]++
      else unsaved.runs.push([record.topic, 1])
      unsaved.last.set(record.topic, record)
      const ordinal = unsaved.records++
      try {
        const decoded = decodeSoon(record, this.#vocabulary, this.#partitions, this.#blobs)
        const event = decoded instanceof Promise ? await decoded : decoded
        this.#refuseFuture(event)
        if (this.#isCopy(event)) continue
        origins.push({ record, ordinal })
        events.push(event)
      } catch (error) {
        if (!(error instanceof PoisonError)) throw error
        unsaved.taken.dead(ordinal)
        unsaved.dead_letters.push(await this.#deadLetter(record, { failure: 'poison', error: error as Error }))
      }
    }
    const { outputs, blobs, failures, batches } = await this.execution.process(events)
    this.#hold(outputs, blobs)
    unsaved.taken.batches(batches)
    for (const failure of failures) {
      const origin = origins[events.indexOf(failure.event)]
      if (origin === undefined) throw failure.error
      unsaved.taken.failed(failure, origin.ordinal)
      unsaved.dead_letters.push(await this.#deadLetter(origin.record, failure, failure.event))
    }
  }

  #isCopy({ type, key }: Event): boolean {
    if (!this.#at_home.has(type)) return false
    return partitionOf(key, partitionsOf(this.#partitions, type)) !== this.partition
  }

  /** The only use of the host's clock. A refused record is a dead letter, and a rebuild leaves dead letters out. */
  #refuseFuture({ clock, time, source }: Event): void {
    if (clock !== 'wall') return
    const ahead_ms = Date.parse(time) - this.#now_ms()
    if (ahead_ms <= FUTURE_HORIZON_MS) return
    throw new PoisonError(
      `ce_time ${time} is ${Math.round(ahead_ms / 3_600_000)} h ahead of this host's clock, at most 24 h are taken; look at the clock of ${source}`,
    )
  }

  /**
   * Processes a result from outside. It is no record of the log, so it is in no journal and makes no dead letter.
   * @returns the error if it failed: the state is then unchanged, and the caller may request it again
   */
  async record(result: Event): Promise<Error | undefined> {
    const { outputs, failures } = await this.execution.process([result])
    const [failure] = failures
    if (failure !== undefined) return failure.error
    this.#hold(outputs, [])
    this.#unsaved.results++
    return undefined
  }

  #hold(outputs: readonly Output[], blobs: readonly Blob[]): void {
    for (const { type, encoded } of outputs) {
      this.#unsaved.outputs.push({ type, encoded })
      this.#unsaved.bytes += encoded.value.byteLength
      for (const { bytes } of encoded.blobs) this.#unsaved.bytes += bytes.byteLength
    }
    for (const blob of blobs) {
      this.#unsaved.blobs.push(blob)
      this.#unsaved.bytes += blob.bytes.byteLength
    }
  }

  journalEntry(): JournalEntry {
    const { runs, last, taken } = this.#unsaved
    const topics = [...last.keys()]
    return {
      version: this.#processor.version,
      variant: this.#processor.variant,
      topics,
      runs: runs.map(([topic, count]) => [topics.indexOf(topic), count] as const),
      last: [...last.values()].map(digestOf),
      taken: taken.entry(this.#processor.shape === 'transform'),
    }
  }

  /** Takes the results to commit. Later ones belong to the next commit. */
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

/** The inputs that have copies in every partition and are neither ticks nor of the broadcast state. */
function keyedInputs(processor: Processor) {
  const apart = new Set([clockTicked, ...(broadcastOf(processor)?.inputs ?? [])].map(({ type }) => type))
  return processor.inputs.filter(({ type, routing }) => routing === 'every_partition' && !apart.has(type))
}
