import { broadcastOf, inputTopics } from '../../../processors/processor.ts'
import type { ClockDomain } from '../../../schemas/declare/event.ts'
import {
  type Claim,
  FencedError,
  type LogRecord,
  type Member,
  OffsetGoneError,
  type Polled,
  type Producer,
} from '../../log/port/log.ts'
import { retryOf } from '../../retry.ts'
import { sleep } from '../../sleep.ts'
import { NEVER_ABORTED, TaskAbortedError } from '../execute/reach.ts'
import { SNAPSHOTS_TOPIC } from '../internal/internal-topics.ts'
import { restoreState, takeSnapshot } from '../state/state-store.ts'
import { TaskPositions } from '../state/task-positions.ts'
import { takeParts } from './batch.ts'
import { BugWatch } from './bug-watch.ts'
import { Commits } from './commits.ts'
import { Growth } from './growth.ts'
import { Lacking } from './lacking.ts'
import { Task } from './task.ts'
import { DEFAULT_TUNING, type Tuning, type WorkerOptions } from './worker-options.ts'

export {
  type CommitStage,
  DEFAULT_TUNING,
  type Tuning,
  WHEN_GONE,
  type WhenGone,
  type WorkerEvent,
  type WorkerOptions,
} from './worker-options.ts'

/**
 * Runs one processor as a member of its consumer group: poll → decode and upcast → process → one transaction (outputs,
 * journal, changelog, dead letters, positions) per commit interval, which is written while the next batch is processed.
 * After a failure, all partitions are restored from the last commit.
 */
export class Worker {
  readonly #options: WorkerOptions
  readonly #tuning: Tuning
  #bugs: BugWatch
  readonly #tasks = new Map<number, Task>()
  readonly #positions: TaskPositions
  readonly #growth: Growth
  readonly #lacking: Lacking
  #claim: Claim | undefined
  #last_commit_ms = 0
  #idle = false
  /** Aborts when the results of this session are no longer wanted. */
  #unwanted = NEVER_ABORTED

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#tuning = { ...DEFAULT_TUNING, ...options.tuning }
    this.#bugs = new BugWatch(options.processor.name, this.#tuning)
    this.#growth = new Growth(options.processor)
    this.#lacking = new Lacking(options.processor)
    this.#positions = new TaskPositions(options.log, options.processor)
  }

  /** The last poll returned no records, nothing waits to be committed, and no call is expected to return a result. */
  get idle(): boolean {
    return this.#idle
  }

  /** Partitions whose inputs wait in the log, because the processor lacks something. */
  get lacking(): ReadonlySet<number> {
    return this.#lacking.partitions
  }

  latestDeadline(clock: ClockDomain): string | undefined {
    return latest([...this.#tasks.values()].map((task) => task.execution.latestDeadline(clock)))
  }

  /** The latest event time of the owned partitions that no tick has reached. */
  unticked(clock: ClockDomain): string | undefined {
    return latest([...this.#tasks.values()].map((task) => task.execution.unticked(clock)))
  }

  /**
   * Runs until the signal aborts. Then commits what was processed and leaves the group. Where a transform gives up
   * because of the signal, what was processed since the last commit is dropped: the next owner reads it again.
   */
  async run(signal: AbortSignal): Promise<void> {
    let wait_ms = 0
    while (!signal.aborted) {
      try {
        await this.#session(signal, () => {
          wait_ms = 0
        })
      } catch (error) {
        if (!(error instanceof Error) || retryOf(error) === 'never') throw error
        if (signal.aborted && error instanceof TaskAbortedError) return
        if (error instanceof FencedError) {
          await sleep(FENCED_WAIT_MS, signal)
        } else {
          wait_ms = Math.min(5_000, Math.max(50, wait_ms * 2))
          this.#options.onEvent?.({ kind: 'retrying', error, wait_ms })
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
    const abort = new AbortController()
    this.#unwanted = abort.signal
    const stop = () => abort.abort(new TaskAbortedError(`${processor.name} was stopped`))
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    let producer: Producer | undefined
    let commits: Commits | undefined
    try {
      producer = await log.producer({ transactional_id: `${processor.name}/${instance}` })
      commits = new Commits(this.#options, producer, {
        committed: (batch) => {
          this.#positions.settle(batch.positions)
          progressed()
        },
        // What is being computed builds on the lost batch, or belongs to another owner now.
        failed: (error) => abort.abort(error),
      })
      this.#last_commit_ms = performance.now()
      // Records that the last session did not commit are read again, and must not count twice.
      this.#bugs = new BugWatch(processor.name, this.#tuning)
      for (let joined = false; !signal.aborted; joined = true) {
        await this.#step(member, producer, commits)
        if (!joined) this.#options.onEvent?.({ kind: 'joined', partitions: [...this.#tasks.keys()] })
      }
      await this.#options.beside?.collect(this.#tasks)
      await this.#commit(commits)
      await commits.settled()
      await this.#snapshot(producer, 1_000)
    } catch (error) {
      const partitions = [...this.#tasks.keys()]
      if (error instanceof FencedError && partitions.length > 0) this.#options.onEvent?.({ kind: 'lost', partitions })
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
      this.#options.onEvent?.({ kind: 'left' })
      await commits?.ended()
      this.#tasks.clear()
      this.#lacking.clear()
      this.#options.beside?.settle(this.#tasks)
      this.#positions.clear()
      this.#claim = undefined
      await producer?.close().catch(() => {})
      await member.leave().catch(() => {})
    }
  }

  async #step(member: Member, producer: Producer, commits: Commits): Promise<void> {
    commits.throwIfFailed()
    const { beside } = this.#options
    if (beside?.full(this.#tasks)) member.pause([...this.#tasks.keys()], beside.topics)
    else if (beside !== undefined) member.resume([...this.#tasks.keys()])
    // Plans of an effect are read on: they have deadlines.
    else this.#lacking.pause(member, this.#tasks)
    const polled = await this.#poll(member)
    // The claim changes with the assignment. Records processed under the old claim are committed under it.
    if (polled.gained.length + polled.lost.length > 0) await this.#reassign(polled, member, producer, commits)
    this.#claim = polled.claim
    if (polled.records.length === 0 && polled.gained.length === 0) {
      for (const message of this.#lacking.tell(this.#tasks)) this.#options.onEvent?.({ kind: 'notice', message })
    }
    const before = this.#unsaved_bytes
    await this.#process(polled, member, commits)
    this.#growth.see(polled.records, this.#unsaved_bytes - before)
    await beside?.collect(this.#tasks)
    const due = performance.now() - this.#last_commit_ms >= this.#tuning.commit_interval_ms
    const full = this.#unsaved_bytes >= this.#tuning.max_unsaved_bytes
    const pending = this.#pending
    if (pending && (due || full || polled.records.length === 0)) {
      await this.#commit(commits)
      await this.#snapshotWhenDue(producer, commits)
    }
    // Wait when there is nothing else to do, or before calls: only committed plans may be called.
    if ((polled.records.length === 0 && !pending) || beside !== undefined) await commits.settled()
    if (this.#unsaved() === 0) beside?.settle(this.#tasks)
    this.#idle = !pending && !beside?.busy && polled.records.length === 0 && polled.gained.length === 0
  }

  /** Polls. Where retention removed unread records, applies the `when_gone` policy, one partition at a time. */
  async #poll(member: Member): Promise<Polled> {
    const { when_gone, max_unsaved_bytes } = this.#tuning
    for (;;) {
      try {
        return await member.poll({
          max_bytes: Math.min(max_unsaved_bytes, this.#growth.most_input),
          wait_ms: this.#wait_ms(),
        })
      } catch (error) {
        if (!(error instanceof OffsetGoneError) || when_gone === 'stop') throw error
        const { topic, partition, from, beginning } = error.gone
        const end = when_gone === 'latest' ? (await this.#options.log.endOffsets(topic))[partition] : undefined
        const to = end ?? beginning
        const position = { topic, partition, next: to }
        member.seek([position])
        this.#positions.skipTo(position)
        this.#options.onEvent?.({ kind: 'skipped', topic, partition, from, to })
      }
    }
  }

  get #unsaved_bytes(): number {
    return [...this.#tasks.values()].reduce((sum, task) => sum + task.unsaved.bytes, 0)
  }

  /** Some records, positions or results from outside are not committed yet. */
  get #pending(): boolean {
    return this.#unsaved() > 0 || this.#positions.pending
  }

  /** How long a poll may wait for the first record: with uncommitted work, only until the next commit is due. */
  #wait_ms(): number {
    const { commit_interval_ms, idle_commit_interval_ms } = this.#tuning
    const shortest_ms = Math.min(commit_interval_ms, idle_commit_interval_ms)
    if (this.#pending) return Math.max(0, shortest_ms - (performance.now() - this.#last_commit_ms))
    return this.#options.beside?.busy ? shortest_ms : 200
  }

  async #reassign(polled: Polled, member: Member, producer: Producer, commits: Commits): Promise<void> {
    await commits.settled()
    for (const partition of polled.lost) this.#drop(partition)
    if (polled.lost.length > 0) this.#options.onEvent?.({ kind: 'lost', partitions: polled.lost })
    await this.#commit(commits)
    await commits.settled()
    await this.#positions.find(polled.gained)
    for (const partition of polled.gained) await this.#takeUp(partition, polled.claim, member, producer)
  }

  /** Restores a gained partition. In a copy of a log, also finds where to resume. */
  async #takeUp(partition: number, claim: Claim, member: Member, producer: Producer): Promise<void> {
    const began_ms = performance.now()
    const { log, blobs, processor } = this.#options
    const journalled = await this.#positions.fromJournal(partition)
    const restored = await restoreState(processor, partition, {
      ...this.#options,
      signal: AbortSignal.any([this.#unwanted, member.ownership(partition)]),
      without_snapshots: journalled.length > 0,
      onNotice: (message) => this.#options.onEvent?.({ kind: 'notice', message }),
    })
    const { execution, changelog_records, rebuilt, has_others } = restored
    const task = new Task({ ...this.#options, partition, execution })
    // A rebuilt state is not stored anywhere yet: take a snapshot after the next commit.
    task.changes_since_snapshot = rebuilt ? Number.POSITIVE_INFINITY : changelog_records
    if (has_others) task.changes_since_snapshot = Number.NEGATIVE_INFINITY
    this.#tasks.set(partition, task)
    const ms = performance.now() - began_ms
    this.#options.onEvent?.({ kind: 'restored', partition, changelog_records, rebuilt, ms })
    if (journalled.length === 0) return
    member.seek(journalled)
    const transaction = producer.begin()
    // This snapshot replaces copied ones, whose offsets are those of another log.
    const { record } = await takeSnapshot(execution, processor, partition, log, blobs)
    transaction.append(SNAPSHOTS_TOPIC, partition, record)
    transaction.positions(claim, journalled)
    await transaction.commit()
    this.#positions.settle(journalled)
  }

  #drop(partition: number): void {
    this.#tasks.delete(partition)
    this.#lacking.drop(partition)
    this.#positions.drop(partition)
  }

  async #process(polled: Polled, member: Member, commits: Commits): Promise<void> {
    const byPartition = Map.groupBy(polled.records, ({ partition }) => partition)
    for (const [partition, records] of byPartition) {
      const task = this.#tasks.get(partition)
      if (task === undefined)
        throw new Error(`the log delivered records of partition ${partition}, which was never gained`)
      const letters = task.unsaved.dead_letters.length
      const owned = member.ownership(partition)
      if (owned.aborted) continue
      await task.process(this.#broadcastFirst(records)).catch((error: unknown) => {
        if (!owned.aborted) throw error
      })
      if (!owned.aborted) this.#bugs.see(records.length, task.unsaved.dead_letters.slice(letters))
    }
    await this.#dropLost(member, commits)
    this.#positions.reach(polled.positions.filter((position) => this.#tasks.has(position.partition)))
  }

  /** What arrived together is processed with the newest broadcast state: with the model that is there, not the last one. */
  #broadcastFirst(records: readonly LogRecord[]): readonly LogRecord[] {
    const types = broadcastOf(this.#options.processor)?.inputs
    if (types === undefined) return records
    const [first, after] = [true, false].map((is_first) =>
      records.filter(({ topic }) => types.some(({ type }) => type === topic) === is_first),
    )
    return [...(first ?? []), ...(after ?? [])]
  }

  /** Drops the work on partitions that another worker has by now: a commit with it would be refused as a whole. */
  async #dropLost(member: Member, commits: Commits): Promise<void> {
    const lost = [...this.#tasks.keys()].filter((partition) => member.ownership(partition).aborted)
    // A commit under way may contain some of them: its outcome decides.
    if (lost.length > 0) await commits.settled()
    for (const partition of lost) this.#drop(partition)
  }

  /** The number of input records and results from outside that are not taken into a commit yet. */
  #unsaved(): number {
    let count = 0
    for (const { unsaved } of this.#tasks.values()) count += unsaved.records + unsaved.results
    return count
  }

  /** Starts a commit of all uncommitted results, once the previous commit has ended. */
  async #commit(commits: Commits): Promise<void> {
    const claim = this.#claim
    this.#last_commit_ms = performance.now()
    if (claim === undefined || !this.#pending) return
    const tasks = [...this.#tasks.values()].filter(({ unsaved }) => unsaved.records + unsaved.results > 0)
    const fences = this.#fences(tasks)
    const positions = [...this.#positions.take(new Set(tasks.map(({ partition }) => partition))), ...fences]
    await commits.begin({ claim, positions, parts: takeParts(tasks) })
  }

  /** Tasks with results but no new input commit their current positions again, so that a stale owner is rejected. */
  #fences(tasks: readonly Task[]) {
    const without = new Set(tasks.filter(({ unsaved }) => unsaved.results > 0).map(({ partition }) => partition))
    for (const partition of this.#positions.readIn) without.delete(partition)
    return this.#positions.committedOf(without)
  }

  /** Waits for the commit first: only a fully committed state may be restored later. */
  async #snapshotWhenDue(producer: Producer, commits: Commits): Promise<void> {
    const { snapshot_every } = this.#tuning
    if (![...this.#tasks.values()].some((task) => task.changes_since_snapshot >= snapshot_every)) return
    await commits.settled()
    await this.#snapshot(producer, snapshot_every)
  }

  /** Snapshots the state at the last commit. The changelog ends there too: only a partition's owner writes it. */
  async #snapshot(producer: Producer, every: number): Promise<void> {
    const { processor, log, blobs } = this.#options
    const claim = this.#claim
    if (claim === undefined || this.#unsaved() > 0) return
    for (const task of this.#tasks.values()) {
      if (task.changes_since_snapshot < every) continue
      const { partition, record } = await takeSnapshot(task.execution, processor, task.partition, log, blobs)
      const transaction = producer.begin()
      transaction.append(SNAPSHOTS_TOPIC, partition, record)
      // Re-commits the current positions, so that a stale owner's snapshot, which lacks later changes, is rejected.
      transaction.positions(claim, this.#positions.committedOf(new Set([partition])))
      await transaction.commit()
      task.changes_since_snapshot = 0
    }
  }
}

/** Two workers that fence each other must not spin. */
const FENCED_WAIT_MS = 50

/** The latest of some RFC 3339 times. */
export function latest(times: readonly (string | undefined)[]): string | undefined {
  return times
    .filter((time) => time !== undefined)
    .sort()
    .at(-1)
}
