import type { Processor } from '../../processors/processor.ts'
import type { ClockDomain } from '../../schemas/event.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import type { Blobs } from '../blobs/blobs.ts'
import {
  type Claim,
  FencedError,
  type Log,
  type LogRecord,
  type Member,
  OffsetGoneError,
  type Polled,
  type Position,
  type Producer,
  TopicMismatchError,
  UnknownTopicError,
} from '../log/log.ts'
import type { Beside } from './beside.ts'
import { BugWatch, ProcessorBrokenError } from './bug-watch.ts'
import { appendUnsaved, type Committed, putBlobs } from './commit-tasks.ts'
import { inputTopics } from './execution.ts'
import { SNAPSHOTS_TOPIC } from './internal-topics.ts'
import { positionsFromJournal } from './resume.ts'
import { sleep } from './sleep.ts'
import { restoreState, StateVersionError, takeSnapshot } from './state-store.ts'
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
  /** Work beside the poll loop: the calls of an effect. */
  readonly beside?: Beside
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
  | ({ readonly kind: 'committed' } & Committed)
  | {
      readonly kind: 'restored'
      readonly partition: number
      readonly changelog_records: number
      readonly rebuilt: boolean
      /** How long it took. */
      readonly ms: number
    }
  | { readonly kind: 'lost'; readonly partitions: readonly number[] }
  | { readonly kind: 'retrying'; readonly error: Error; readonly wait_ms: number }
  | { readonly kind: 'notice'; readonly message: string }

/**
 * Runs one processor as a member of its consumer group: poll → decode and upcast → process → one transaction (outputs,
 * journal, changelog, dead letters, positions) per commit interval. Whatever goes wrong between two commits is undone
 * by taking the partition up again from what was committed.
 */
export class Worker {
  readonly #options: WorkerOptions
  readonly #tuning: Tuning
  #bugs: BugWatch
  readonly #tasks = new Map<number, Task>()
  /** Read and not committed yet, by topic/partition. */
  readonly #positions = new Map<string, Position>()
  readonly #committed = new Map<string, Position>()
  #claim: Claim | undefined
  #last_commit_ms = 0
  #idle = false

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#tuning = { ...DEFAULT_TUNING, ...options.tuning }
    this.#bugs = new BugWatch(options.processor.name, this.#tuning)
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
        if (FINAL.some((kind) => error instanceof kind) || !(error instanceof Error)) throw error
        if (error instanceof FencedError) {
          this.#options.onEvent?.({ kind: 'lost', partitions: [...this.#tasks.keys()] })
          await sleep(FENCED_WAIT_MS, signal)
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
      // What the last session saw and did not commit comes again.
      this.#bugs = new BugWatch(processor.name, this.#tuning)
      while (!signal.aborted) {
        if (await this.#step(member, producer)) progressed()
      }
      await this.#options.beside?.collect(this.#tasks)
      await this.#commit(producer)
      await this.#snapshot(producer, 1_000)
    } finally {
      this.#tasks.clear()
      this.#options.beside?.settle(this.#tasks)
      this.#positions.clear()
      this.#committed.clear()
      this.#claim = undefined
      await producer?.close().catch(() => {})
      await member.leave().catch(() => {})
    }
  }

  /** @returns whether something was committed */
  async #step(member: Member, producer: Producer): Promise<boolean> {
    const { beside } = this.#options
    const unsaved = this.#unsaved() > 0 || this.#positions.size > 0
    if (beside?.full(this.#tasks)) member.pause([...this.#tasks.keys()])
    else if (beside !== undefined) member.resume([...this.#tasks.keys()])
    const polled = await member.poll({
      max_bytes: this.#tuning.max_unsaved_bytes,
      wait_ms: unsaved
        ? Math.max(0, this.#tuning.commit_interval_ms - (performance.now() - this.#last_commit_ms))
        : beside?.busy
          ? this.#tuning.commit_interval_ms
          : 200,
    })
    // The claim changes with the assignment: what was processed under the old one is committed under the old one.
    if (polled.gained.length + polled.lost.length > 0) await this.#reassign(polled, member, producer)
    this.#claim = polled.claim
    await this.#process(polled)
    await beside?.collect(this.#tasks)
    const due = performance.now() - this.#last_commit_ms >= this.#tuning.commit_interval_ms
    const full =
      [...this.#tasks.values()].reduce((sum, task) => sum + task.unsaved.bytes, 0) >= this.#tuning.max_unsaved_bytes
    const pending = this.#unsaved() > 0 || this.#positions.size > 0
    const commits = pending && (due || full || polled.records.length === 0)
    if (commits) {
      await this.#commit(producer)
      await this.#snapshot(producer, this.#tuning.snapshot_every)
    }
    if (this.#unsaved() === 0) beside?.settle(this.#tasks)
    this.#idle = !pending && !beside?.busy && polled.records.length === 0 && polled.gained.length === 0
    return commits
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
    for (const partition of polled.gained) await this.#takeUp(partition, polled.claim, member, producer)
  }

  /** Restores a gained partition, and in a copy of a log finds where it goes on. */
  async #takeUp(partition: number, claim: Claim, member: Member, producer: Producer): Promise<void> {
    const began_ms = performance.now()
    const { log, blobs, processor } = this.#options
    const journalled = await positionsFromJournal(log, processor.name, partition)
    const restored = await restoreState(processor, partition, {
      ...this.#options,
      without_snapshots: journalled.length > 0,
    })
    const { execution, changelog_records, rebuilt } = restored
    const task = new Task({ ...this.#options, partition, execution })
    // A rebuilt state is nowhere yet: the next commit takes a snapshot of it.
    task.changes_since_snapshot = rebuilt ? Number.POSITIVE_INFINITY : changelog_records
    this.#tasks.set(partition, task)
    const ms = performance.now() - began_ms
    this.#options.onEvent?.({ kind: 'restored', partition, changelog_records, rebuilt, ms })
    if (journalled.length === 0) return
    member.seek(journalled)
    const transaction = producer.begin()
    // From here on the snapshots that came with the copy, whose offsets are another log's, are not the last ones.
    const { record } = await takeSnapshot(execution, processor, partition, log, blobs)
    transaction.append(SNAPSHOTS_TOPIC, partition, record)
    transaction.positions(claim, journalled)
    await transaction.commit()
    for (const position of journalled) this.#committed.set(`${position.topic}/${position.partition}`, position)
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
      this.#bugs.see(records.length, task.unsaved.dead_letters.slice(letters))
    }
    // Also where no record came: behind the last one may lie gaps, which count as lag until they are passed.
    for (const position of polled.positions) {
      const at = `${position.topic}/${position.partition}`
      if (this.#committed.get(at)?.next !== position.next) this.#positions.set(at, position)
    }
  }

  /** Input records and results from outside that are in no commit yet. */
  #unsaved(): number {
    let count = 0
    for (const { unsaved } of this.#tasks.values()) count += unsaved.records + unsaved.results
    return count
  }

  async #commit(producer: Producer): Promise<void> {
    const claim = this.#claim
    this.#last_commit_ms = performance.now()
    if (claim === undefined || (this.#unsaved() === 0 && this.#positions.size === 0)) return
    const { processor, blobs, partitions } = this.#options
    const tasks = [...this.#tasks.values()].filter(({ unsaved }) => unsaved.records + unsaved.results > 0)
    await putBlobs(tasks, blobs)
    this.#options.observe?.('processed')
    const transaction = producer.begin()
    const committed = appendUnsaved(transaction, processor, tasks, partitions)
    transaction.positions(claim, [...this.#positions.values(), ...this.#fences(tasks)])
    this.#options.observe?.('appended')
    await transaction.commit()
    this.#options.observe?.('committed')
    for (const task of tasks) task.saved()
    for (const [at, position] of this.#positions) this.#committed.set(at, position)
    this.#positions.clear()
    if (committed.records + committed.outputs > 0) this.#options.onEvent?.({ kind: 'committed', ...committed })
  }

  /** Tasks that have results and read nothing say their committed positions again: an owner of before is refused by that. */
  #fences(tasks: readonly Task[]): Position[] {
    const without = new Set(tasks.filter(({ unsaved }) => unsaved.results > 0).map(({ partition }) => partition))
    for (const { partition } of this.#positions.values()) without.delete(partition)
    return [...this.#committed.values()].filter(({ partition }) => without.has(partition))
  }

  /** The state as of the last commit; the changelog ends where it does, since only the owner of a partition writes it. */
  async #snapshot(producer: Producer, every: number): Promise<void> {
    const { processor, log, blobs } = this.#options
    const claim = this.#claim
    if (claim === undefined || this.#unsaved() > 0) return
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

/** Two that fence each other must not spin. */
const FENCED_WAIT_MS = 50

/** The latest of some RFC 3339 times. */
export function latest(times: readonly (string | undefined)[]): string | undefined {
  return times
    .filter((time) => time !== undefined)
    .sort()
    .at(-1)
}

/** Waiting does not mend these. Errors of JavaScript itself come from our code. */
const FINAL = [
  ProcessorBrokenError,
  StateVersionError,
  OffsetGoneError,
  UnknownTopicError,
  TopicMismatchError,
  TypeError,
  ReferenceError,
  RangeError,
]
