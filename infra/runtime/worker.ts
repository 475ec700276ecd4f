import type { ClockDomain } from '../../schemas/event.ts'
import {
  type Claim,
  FencedError,
  type Member,
  OffsetGoneError,
  type Polled,
  type Position,
  type Producer,
} from '../log/log.ts'
import { BugWatch } from './bug-watch.ts'
import { takeParts } from './commit-tasks.ts'
import { Commits } from './commits.ts'
import { inputTopics } from './execution.ts'
import { isFinal } from './final-errors.ts'
import { SNAPSHOTS_TOPIC } from './internal-topics.ts'
import { positionsFromJournal } from './resume.ts'
import { sleep } from './sleep.ts'
import { restoreState, takeSnapshot } from './state-store.ts'
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
 * Whatever goes wrong is undone by taking the partition up again from what was committed.
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
        if (!(error instanceof Error) || isFinal(error)) throw error
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
    let producer: Producer | undefined
    let commits: Commits | undefined
    try {
      producer = await log.producer({ transactional_id: `${processor.name}/${instance}` })
      commits = new Commits(this.#options, producer, (batch) => {
        for (const position of batch.positions) this.#committed.set(placeOf(position), position)
        progressed()
      })
      this.#last_commit_ms = performance.now()
      // What the last session saw and did not commit comes again.
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
      this.#options.onEvent?.({ kind: 'left' })
      await commits?.ended()
      this.#tasks.clear()
      this.#options.beside?.settle(this.#tasks)
      this.#positions.clear()
      this.#committed.clear()
      this.#claim = undefined
      await producer?.close().catch(() => {})
      await member.leave().catch(() => {})
    }
  }

  async #step(member: Member, producer: Producer, commits: Commits): Promise<void> {
    commits.throwIfFailed()
    const { beside } = this.#options
    if (beside?.full(this.#tasks)) member.pause([...this.#tasks.keys()])
    else if (beside !== undefined) member.resume([...this.#tasks.keys()])
    const polled = await this.#poll(member)
    // The claim changes with the assignment: what was processed under the old one is committed under the old one.
    if (polled.gained.length + polled.lost.length > 0) await this.#reassign(polled, member, producer, commits)
    this.#claim = polled.claim
    await this.#process(polled)
    await beside?.collect(this.#tasks)
    const due = performance.now() - this.#last_commit_ms >= this.#tuning.commit_interval_ms
    const full =
      [...this.#tasks.values()].reduce((sum, task) => sum + task.unsaved.bytes, 0) >= this.#tuning.max_unsaved_bytes
    const pending = this.#pending
    if (pending && (due || full || polled.records.length === 0)) {
      await this.#commit(commits)
      await this.#snapshotWhenDue(producer, commits)
    }
    // Nothing else to do meanwhile; and calls are made of committed plans only.
    if ((polled.records.length === 0 && !pending) || beside !== undefined) await commits.settled()
    if (this.#unsaved() === 0) beside?.settle(this.#tasks)
    this.#idle = !pending && !beside?.busy && polled.records.length === 0 && polled.gained.length === 0
  }

  /** Where retention was faster, the policy says where reading goes on; one partition after the other. */
  async #poll(member: Member): Promise<Polled> {
    const { when_gone, max_unsaved_bytes } = this.#tuning
    for (;;) {
      try {
        return await member.poll({ max_bytes: max_unsaved_bytes, wait_ms: this.#wait_ms() })
      } catch (error) {
        if (!(error instanceof OffsetGoneError) || when_gone === 'stop') throw error
        const { topic, partition, from, beginning } = error.gone
        const end = when_gone === 'latest' ? (await this.#options.log.endOffsets(topic))[partition] : undefined
        const to = end ?? beginning
        const position = { topic, partition, next: to }
        member.seek([position])
        // Committed also when nothing comes: a restart must not skip once more, and further.
        this.#positions.set(placeOf(position), position)
        this.#options.onEvent?.({ kind: 'skipped', topic, partition, from, to })
      }
    }
  }

  /** Something was read, or came from outside, that is in no commit yet. */
  get #pending(): boolean {
    return this.#unsaved() > 0 || this.#positions.size > 0
  }

  /** How long a poll may wait for the first record: with work in hand, until it may be committed. */
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
    const { log, processor } = this.#options
    for (const position of await log.committed(processor.name)) {
      if (polled.gained.includes(position.partition)) this.#committed.set(placeOf(position), position)
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
    for (const position of journalled) this.#committed.set(placeOf(position), position)
  }

  #drop(partition: number): void {
    this.#tasks.delete(partition)
    for (const positions of [this.#positions, this.#committed]) {
      for (const [at, position] of positions) if (position.partition === partition) positions.delete(at)
    }
  }

  async #process(polled: Polled): Promise<void> {
    const byPartition = Map.groupBy(polled.records, ({ partition }) => partition)
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
      const at = placeOf(position)
      if (this.#committed.get(at)?.next !== position.next) this.#positions.set(at, position)
    }
  }

  /** Input records and results from outside that are in no commit yet. */
  #unsaved(): number {
    let count = 0
    for (const { unsaved } of this.#tasks.values()) count += unsaved.records + unsaved.results
    return count
  }

  /** Begins to commit what there is, once the commit before has ended. */
  async #commit(commits: Commits): Promise<void> {
    const claim = this.#claim
    this.#last_commit_ms = performance.now()
    if (claim === undefined || !this.#pending) return
    const tasks = [...this.#tasks.values()].filter(({ unsaved }) => unsaved.records + unsaved.results > 0)
    const positions = [...this.#positions.values(), ...this.#fences(tasks)]
    this.#positions.clear()
    await commits.begin({ claim, positions, parts: takeParts(tasks) })
  }

  /** Tasks that have results and read nothing say their committed positions again: an owner of before is refused by that. */
  #fences(tasks: readonly Task[]): Position[] {
    const without = new Set(tasks.filter(({ unsaved }) => unsaved.results > 0).map(({ partition }) => partition))
    for (const { partition } of this.#positions.values()) without.delete(partition)
    return [...this.#committed.values()].filter(({ partition }) => without.has(partition))
  }

  /** Only where everything is committed is the state one to start again from: the loop waits for that. */
  async #snapshotWhenDue(producer: Producer, commits: Commits): Promise<void> {
    const { snapshot_every } = this.#tuning
    if (![...this.#tasks.values()].some((task) => task.changes_since_snapshot >= snapshot_every)) return
    await commits.settled()
    await this.#snapshot(producer, snapshot_every)
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

const placeOf = ({ topic, partition }: Position) => `${topic}/${partition}`

/** Two that fence each other must not spin. */
const FENCED_WAIT_MS = 50

/** The latest of some RFC 3339 times. */
export function latest(times: readonly (string | undefined)[]): string | undefined {
  return times
    .filter((time) => time !== undefined)
    .sort()
    .at(-1)
}
