import { inputTopics, type Processor } from '../../../processors/processor.ts'
import type { Log, Position } from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'
import { journalTopic } from '../internal/internal-topics.ts'
import { CauseExpiredError } from '../internal/journal-reader.ts'
import { adoptPositions } from './adopt-positions.ts'
import { type Misplaced, misplacedError, misplacedIn } from './misplaced.ts'
import { positionsFromJournal } from './resume.ts'
import { TaskTopics } from './task-topics.ts'

/** The read and the committed positions of a worker, per topic of its partitions. */
export class TaskPositions {
  readonly #log: Log
  readonly #processor: Processor
  #topics: TaskTopics
  /** By topic/partition: read and not committed yet. */
  readonly #read = new Map<string, Position>()
  readonly #committed = new Map<string, Position>()
  /** The beginnings of inputs without a committed position. */
  readonly #begun = new Map<string, Position>()

  constructor(log: Log, processor: Processor) {
    this.#log = log
    this.#processor = processor
    this.#topics = new TaskTopics(processor.name, [])
  }

  /** Some position is read and not committed yet. */
  get pending(): boolean {
    return this.#read.size > 0
  }

  /** Loads the positions of gained partitions. @throws TopicReplacedError when one does not belong to this log */
  async find(gained: readonly number[]): Promise<void> {
    if (gained.length === 0) return
    const { name } = this.#processor
    const topics = inputTopics(this.#processor)
    this.#topics = new TaskTopics(name, await this.#log.topics())
    const committed = (await this.#log.committed(name)).filter(
      ({ topic, partition }) => gained.includes(partition) && topics.includes(topic),
    )
    const { misplaced, adopted } = await compared(this.#log, name, this.#topics, committed)
    if (misplaced.length > 0) throw misplacedError(this.#log, name, misplaced)
    this.settle(committed)
    // To be committed even without new records: from then on these positions can be compared in full.
    for (const position of adopted) this.#read.set(partitionName(position), this.#topics.bind(position))
  }

  /**
   * Where a gained partition resumes in inputs that have no committed position but are counted in its journal. Empty if
   * there are none.
   */
  async fromJournal(partition: number): Promise<Position[]> {
    const lacking = inputTopics(this.#processor).filter(
      (topic) => !this.#committed.has(partitionName({ topic, partition })),
    )
    const { name } = this.#processor
    const { positions: found, misplaced } = await positionsFromJournal(this.#log, name, partition, lacking)
    if (misplaced.length > 0) throw misplacedError(this.#log, name, misplaced)
    for (const topic of lacking) {
      if (found.some((position) => position.topic === topic)) continue
      const next = (await this.#log.beginningOffsets(topic))[partition] ?? 0n
      this.#begun.set(partitionName({ topic, partition }), this.#topics.bind({ topic, partition, next }))
    }
    return found.map((position) => this.#topics.bind(position))
  }

  /** A poll reached these positions, even without records: gaps after the last record would count as lag. */
  reach(positions: readonly Position[]): void {
    for (const position of positions) {
      const at = partitionName(position)
      if (this.#committed.get(at)?.next !== position.next) this.#read.set(at, this.#topics.bind(position))
    }
  }

  /** To be committed even without new records: a restart must not skip again, and further. */
  skipTo(position: Position): void {
    this.#read.set(partitionName(position), this.#topics.bind(position))
  }

  /**
   * Takes the positions to commit now. The first commit of a partition includes its inputs without a position, so that
   * a position missing later is known to be lost.
   */
  take(partitions: ReadonlySet<number>): Position[] {
    const begun = [...this.#begun].filter(([, { partition }]) => partitions.has(partition))
    for (const [at] of begun) this.#begun.delete(at)
    const taken = [...new Map([...begun, ...this.#read]).values()]
    this.#read.clear()
    return taken
  }

  settle(positions: readonly Position[]): void {
    for (const position of positions) this.#committed.set(partitionName(position), position)
  }

  /** The committed positions of these partitions. Committing them again fails for a stale owner. */
  committedOf(partitions: ReadonlySet<number>): Position[] {
    return [...this.#committed.values()].filter(({ partition }) => partitions.has(partition))
  }

  /** The partitions with positions to commit. */
  get readIn(): ReadonlySet<number> {
    return new Set([...this.#read.values()].map(({ partition }) => partition))
  }

  drop(partition: number): void {
    for (const positions of [this.#read, this.#committed, this.#begun]) {
      for (const [at, position] of positions) if (position.partition === partition) positions.delete(at)
    }
  }

  clear(): void {
    for (const positions of [this.#read, this.#committed, this.#begun]) positions.clear()
  }
}

/**
 * Positions that prevent a processor from resuming in this log, by the same checks that its workers make at start.
 * @param through_journal also reads the journal, and the records it counts, for topics without a position
 */
export async function misplacedOf(
  log: Log,
  processor: Processor,
  { through_journal = true } = {},
): Promise<readonly Misplaced[]> {
  const listed = await log.topics()
  const topics = inputTopics(processor).filter((topic) => listed.some(({ name }) => name === topic))
  const committed = (await log.committed(processor.name)).filter(({ topic }) => topics.includes(topic))
  const { misplaced } = await compared(log, processor.name, new TaskTopics(processor.name, listed), committed)
  const journal = listed.find(({ name }) => name === journalTopic(processor.name))
  const found = [...misplaced]
  const partitions = through_journal ? (journal?.partitions ?? 0) : 0
  for (let partition = 0; partition < partitions; partition++) {
    const lacking = topics.filter((topic) => !committed.some((at) => at.topic === topic && at.partition === partition))
    const resumed = await positionsFromJournal(log, processor.name, partition, lacking).catch((error: unknown) => {
      // Retention has removed the records to compare with.
      if (error instanceof CauseExpiredError) return undefined
      throw error
    })
    found.push(...(resumed?.misplaced ?? []))
  }
  return found
}

/** The positions that do not belong to the log, and those of an earlier release that do. */
async function compared(log: Log, processor: string, topics: TaskTopics, positions: readonly Position[]) {
  const misplaced = [...topics.misplaced(positions), ...(await misplacedIn(log, positions))]
  const adopted: Position[] = []
  const others = new Set(misplaced.map(({ position }) => position))
  const left = positions.filter((position) => !others.has(position))
  for (const [partition, own] of Map.groupBy(left, (position) => position.partition)) {
    const found = await adoptPositions(log, processor, partition, own)
    misplaced.push(...found.misplaced)
    adopted.push(...found.positions)
  }
  return { misplaced, adopted }
}
