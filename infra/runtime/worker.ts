import type { Processor } from '../../processors/processor.ts'
import type { ClockDomain } from '../../schemas/event.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { partitionOf } from '../../schemas/routing.ts'
import type { Blobs } from '../blobs/blobs.ts'
import {
  type Claim,
  FencedError,
  type Log,
  type LogRecord,
  type Member,
  type Polled,
  type Position,
  type Producer,
  type Transaction,
} from '../log/log.ts'
import { inputTopics } from './execution.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC, journalTopic, SNAPSHOTS_TOPIC } from './internal-topics.ts'
import { toJson } from './json-records.ts'
import { positionsFromJournal } from './resume.ts'
import { changelogRecord, restoreState, StateVersionError, takeSnapshot } from './state-store.ts'
import { Task } from './task.ts'

export interface WorkerOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly processor: Processor
  readonly vocabulary: Catalogue
  /** Partition count of every topic of the topology. */
  readonly partitions: number
  /** Distinguishes this worker from others of the same processor. */
  readonly instance: string
  readonly tuning?: Partial<Tuning>
  readonly onEvent?: (event: WorkerEvent) => void
  /** Told where a commit is; for tests that kill the process there. */
  readonly observe?: (stage: CommitStage) => void
}

export type CommitStage = 'processed' | 'appended' | 'committed'

export interface Tuning {
  readonly commit_interval_ms: number
  /** Bound on input bytes and on output bytes held before a commit, each. */
  readonly max_unsaved_bytes: number
  readonly session_timeout_ms: number
  readonly snapshot_every: number
  /** More bugs than this among the last `bug_window` records stop the worker: it is the code, not the records. */
  readonly max_bugs: number
  readonly bug_window: number
}

export const DEFAULT_TUNING: Tuning = {
  commit_interval_ms: 100,
  max_unsaved_bytes: 4 * 1024 * 1024,
  session_timeout_ms: 10_000,
  snapshot_every: 20_000,
  max_bugs: 20,
  bug_window: 1_000,
}

export type WorkerEvent =
  | { readonly kind: 'committed'; readonly records: number; readonly outputs: number; readonly dead_letters: number }
  | {
      readonly kind: 'restored'
      readonly partition: number
      readonly changelog_records: number
      readonly rebuilt: boolean
    }
  | { readonly kind: 'lost'; readonly partitions: readonly number[] }
  | { readonly kind: 'retrying'; readonly error: Error; readonly wait_ms: number }

/** Too many records in a row made the processor fail: a fault in its code. Nothing of the last batch was committed. */
export class ProcessorBrokenError extends Error {
  override readonly name = 'ProcessorBrokenError'
}

/**
 * Runs one processor as a member of its consumer group: poll → decode and upcast → process → one transaction (outputs,
 * journal, changelog, dead letters, positions) per commit interval. Whatever goes wrong between two commits is undone
 * by taking the partition up again from what was committed.
 */
export class Worker {
  readonly #options: WorkerOptions
  readonly #tuning: Tuning
  readonly #tasks = new Map<number, Task>()
  /** Read and not committed yet, by topic/partition. */
  readonly #positions = new Map<string, Position>()
  readonly #committed = new Map<string, Position>()
  #claim: Claim | undefined
  #last_commit_ms = 0
  /** At which record each of the latest bugs came. */
  #recent_bugs: number[] = []
  #records_seen = 0
  #idle = false

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#tuning = { ...DEFAULT_TUNING, ...options.tuning }
  }

  /** The last poll brought nothing and nothing is waiting to be committed. */
  get idle(): boolean {
    return this.#idle
  }

  latestDeadline(clock: ClockDomain): string | undefined {
    return latest([...this.#tasks.values()].map((task) => task.execution.latestDeadline(clock)))
  }

  /** The latest event time of the owned partitions that no tick has reached. */
  unticked(clock: ClockDomain): string | undefined {
    return latest([...this.#tasks.values()].map((task) => task.execution.unticked(clock)))
  }

  /** Until the signal aborts; then what was processed is committed and the partitions are given back. */
  async run(signal: AbortSignal): Promise<void> {
    let wait_ms = 0
    while (!signal.aborted) {
      try {
        await this.#session(signal, () => {
          wait_ms = 0
        })
      } catch (error) {
        if (error instanceof ProcessorBrokenError || error instanceof StateVersionError || isBug(error)) throw error
        if (error instanceof FencedError) {
          this.#options.onEvent?.({ kind: 'lost', partitions: [...this.#tasks.keys()] })
        } else {
          wait_ms = Math.min(5_000, Math.max(50, wait_ms * 2))
          this.#options.onEvent?.({ kind: 'retrying', error: error as Error, wait_ms })
          await sleep(wait_ms, signal)
        }
      }
    }
  }

  /** From joining to leaving; a second session starts from what the first one committed. */
  async #session(signal: AbortSignal, progressed: () => void): Promise<void> {
    const { log, processor, instance } = this.#options
    const topics = inputTopics(processor)
    const member = await log.join({
      group: processor.name,
      topics,
      session_timeout_ms: this.#tuning.session_timeout_ms,
    })
    let producer: Producer | undefined
    try {
      producer = await log.producer({ transactional_id: `${processor.name}/${instance}` })
      this.#last_commit_ms = performance.now()
      while (!signal.aborted) {
        await this.#step(member, producer)
        progressed()
      }
      await this.#commit(producer)
      await this.#snapshot(producer, 1_000)
    } finally {
      this.#tasks.clear()
      this.#positions.clear()
      this.#committed.clear()
      this.#claim = undefined
      await producer?.close().catch(() => {})
      await member.leave().catch(() => {})
    }
  }

  async #step(member: Member, producer: Producer): Promise<void> {
    const unsaved = this.#unsavedRecords() > 0 || this.#positions.size > 0
    const polled = await member.poll({
      max_bytes: this.#tuning.max_unsaved_bytes,
      wait_ms: unsaved
        ? Math.max(0, this.#tuning.commit_interval_ms - (performance.now() - this.#last_commit_ms))
        : 200,
    })
    // The claim changes with the assignment: what was processed under the old one is committed under the old one.
    if (polled.gained.length + polled.lost.length > 0) await this.#reassign(polled, member, producer)
    this.#claim = polled.claim
    await this.#process(polled)
    const due = performance.now() - this.#last_commit_ms >= this.#tuning.commit_interval_ms
    const full =
      [...this.#tasks.values()].reduce((sum, task) => sum + task.unsaved.bytes, 0) >= this.#tuning.max_unsaved_bytes
    const pending = this.#unsavedRecords() > 0 || this.#positions.size > 0
    if (pending && (due || full || polled.records.length === 0)) {
      await this.#commit(producer)
      await this.#snapshot(producer, this.#tuning.snapshot_every)
    }
    this.#idle = !pending && polled.records.length === 0 && polled.gained.length === 0
  }

  async #reassign(polled: Polled, member: Member, producer: Producer): Promise<void> {
    for (const partition of polled.lost) this.#drop(partition)
    if (polled.lost.length > 0) this.#options.onEvent?.({ kind: 'lost', partitions: polled.lost })
    await this.#commit(producer)
    const { log, processor } = this.#options
    for (const position of await log.committed(processor.name)) {
      if (polled.gained.includes(position.partition))
        this.#committed.set(`${position.topic}/${position.partition}`, position)
    }
    for (const partition of polled.gained) {
      const { execution, changelog_records, rebuilt } = await restoreState(processor, partition, this.#options)
      const task = new Task({ ...this.#options, partition, execution })
      // A rebuilt state is nowhere yet: the next commit takes a snapshot of it.
      task.changes_since_snapshot = rebuilt ? Number.POSITIVE_INFINITY : changelog_records
      this.#tasks.set(partition, task)
      this.#options.onEvent?.({ kind: 'restored', partition, changelog_records, rebuilt })
      const journalled = await positionsFromJournal(log, processor.name, partition)
      if (journalled.length === 0) continue
      member.seek(journalled)
      const transaction = producer.begin()
      transaction.positions(polled.claim, journalled)
      await transaction.commit()
    }
  }

  #drop(partition: number): void {
    this.#tasks.delete(partition)
    for (const positions of [this.#positions, this.#committed]) {
      for (const [at, position] of positions) if (position.partition === partition) positions.delete(at)
    }
  }

  async #process(polled: Polled): Promise<void> {
    const byPartition = new Map<number, LogRecord[]>()
    for (const record of polled.records) {
      const records = byPartition.get(record.partition)
      if (records === undefined) byPartition.set(record.partition, [record])
      else records.push(record)
    }
    for (const [partition, records] of byPartition) {
      const task = this.#tasks.get(partition)
      if (task === undefined)
        throw new Error(`the log delivered records of partition ${partition}, which was never gained`)
      const letters = task.unsaved.dead_letters.length
      await task.process(records)
      this.#watchForBugs(task, letters, records.length)
    }
    // Also where no record came: behind the last one may lie gaps, which count as lag until they are passed.
    for (const position of polled.positions) {
      const at = `${position.topic}/${position.partition}`
      if (this.#committed.get(at)?.next !== position.next) this.#positions.set(at, position)
    }
  }

  #watchForBugs(task: Task, known: number, records: number): void {
    this.#records_seen += records
    const letters = task.unsaved.dead_letters.slice(known)
    for (const letter of letters) if (letter.failure === 'bug') this.#recent_bugs.push(this.#records_seen)
    this.#recent_bugs = this.#recent_bugs.filter((at) => at > this.#records_seen - this.#tuning.bug_window)
    const culprit = letters.find((letter) => letter.failure === 'bug')
    if (culprit === undefined || this.#recent_bugs.length <= this.#tuning.max_bugs) return
    throw new ProcessorBrokenError(
      `${this.#options.processor.name}: ${this.#recent_bugs.length} of the last ${this.#tuning.bug_window} records made it fail, ` +
        `the latest ${culprit.topic} partition ${culprit.partition} offset ${culprit.offset}: ${culprit.error}. ` +
        'It stopped before committing them; correct the processor and run again.',
    )
  }

  #unsavedRecords(): number {
    let records = 0
    for (const task of this.#tasks.values()) records += task.unsaved.records
    return records
  }

  async #commit(producer: Producer): Promise<void> {
    const claim = this.#claim
    this.#last_commit_ms = performance.now()
    if (claim === undefined || (this.#unsavedRecords() === 0 && this.#positions.size === 0)) return
    const { processor } = this.#options
    const tasks = [...this.#tasks.values()].filter((task) => task.unsaved.records > 0)
    await this.#putBlobs(tasks)
    this.#options.observe?.('processed')
    const transaction = producer.begin()
    let records = 0
    let outputs = 0
    let dead_letters = 0
    for (const task of tasks) {
      for (const output of task.unsaved.outputs) this.#append(transaction, task.partition, output)
      for (const { key, state } of task.execution.takeChanges()) {
        transaction.append(changelogTopic(processor.name), task.partition, changelogRecord(processor, key, state))
        task.changes_since_snapshot++
      }
      for (const letter of task.unsaved.dead_letters) {
        transaction.append(DEAD_LETTERS_TOPIC, task.partition, { key: letter.key, headers: [], value: toJson(letter) })
      }
      const journal = { key: null, headers: [], value: toJson(task.journalEntry()) }
      transaction.append(journalTopic(processor.name), task.partition, journal)
      records += task.unsaved.records
      outputs += task.unsaved.outputs.length
      dead_letters += task.unsaved.dead_letters.length
    }
    transaction.positions(claim, [...this.#positions.values()])
    this.#options.observe?.('appended')
    await transaction.commit()
    this.#options.observe?.('committed')
    for (const task of tasks) task.saved()
    for (const [at, position] of this.#positions) this.#committed.set(at, position)
    this.#positions.clear()
    if (records > 0) this.#options.onEvent?.({ kind: 'committed', records, outputs, dead_letters })
  }

  #append(transaction: Transaction, home: number, output: Task['unsaved']['outputs'][number]): void {
    const { type, encoded } = output
    const { key, headers, value } = encoded
    if (type.routing === 'every_partition') {
      for (let partition = 0; partition < this.#options.partitions; partition++) {
        transaction.append(type.type, partition, { key, headers, value })
      }
    } else {
      transaction.append(type.type, key === null ? home : partitionOf(key, this.#options.partitions), {
        key,
        headers,
        value,
      })
    }
  }

  /** Blobs are durable before the transaction that names them commits. */
  async #putBlobs(tasks: readonly Task[]): Promise<void> {
    const blobs = tasks.flatMap((task) => task.unsaved.outputs.flatMap((output) => output.encoded.blobs))
    for (const blob of blobs) await this.#options.blobs.put(blob.bytes, blob.ref.media_type)
  }

  /** The state as of the last commit; the changelog ends where it does, since only the owner of a partition writes it. */
  async #snapshot(producer: Producer, every: number): Promise<void> {
    const { processor, log, blobs } = this.#options
    const claim = this.#claim
    if (claim === undefined || this.#unsavedRecords() > 0) return
    for (const task of this.#tasks.values()) {
      if (task.changes_since_snapshot < every) continue
      const { partition, record } = await takeSnapshot(task.execution, processor, task.partition, log, blobs)
      const transaction = producer.begin()
      transaction.append(SNAPSHOTS_TOPIC, partition, record)
      // Says nothing new, but is refused when the partition has another owner, whose changes the snapshot would miss.
      transaction.positions(
        claim,
        [...this.#committed.values()].filter((position) => position.partition === partition),
      )
      await transaction.commit()
      task.changes_since_snapshot = 0
    }
  }
}

/** The latest of some RFC 3339 times. */
export function latest(times: readonly (string | undefined)[]): string | undefined {
  return times
    .filter((time) => time !== undefined)
    .sort()
    .at(-1)
}

/** Errors of JavaScript itself come from our code, and waiting does not mend it. */
function isBug(error: unknown): boolean {
  return (
    error instanceof TypeError ||
    error instanceof ReferenceError ||
    error instanceof RangeError ||
    !(error instanceof Error)
  )
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        resolve()
      },
      { once: true },
    )
  })
}
