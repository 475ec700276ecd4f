import type { Log, LogRecord, Position, Topic } from '../infra/log/port/log.ts'
import { partitionName } from '../infra/log/port/partition-name.ts'
import { seenAfter } from '../infra/log/port/seen.ts'
import { isCompacted } from '../infra/runtime/internal/internal-topics.ts'
import { type Misplaced, misplacedByTopic, misplacedIn } from '../infra/runtime/state/misplaced.ts'

/** The end offsets of some topics, per partition. */
export type Ends = ReadonlyMap<string, readonly bigint[]>

/** How far a sink has read each partition, and of which topic. The driver stores it, with what was made of the records. */
export class ReadPositions {
  readonly #log: Log
  readonly #refuse: (misplaced: readonly Misplaced[]) => Promise<never>
  readonly #at = new Map<string, Position>()
  #topics: ReadonlyMap<string, Topic> = new Map()

  /** @param refuse throws the error that tells what to do; see `wrongLog` */
  constructor(log: Log, refuse: (misplaced: readonly Misplaced[]) => Promise<never>) {
    this.#log = log
    this.#refuse = refuse
  }

  /** The log's topics as `compare` saw them, by name. */
  get topics(): ReadonlyMap<string, Topic> {
    return this.#topics
  }

  /** Every committed position. */
  get all(): readonly Position[] {
    return [...this.#at.values()]
  }

  /** Every position, with these in place of the committed ones of their partitions. */
  moved(positions: readonly Position[]): readonly Position[] {
    const moved = new Map(this.#at)
    for (const position of positions) moved.set(partitionName(position), position)
    return [...moved.values()]
  }

  /** Replaces the positions in memory with the committed ones. */
  reload(positions: Iterable<Position>): void {
    this.#at.clear()
    for (const position of positions) this.settle(position)
  }

  /** Call after the position was committed. */
  settle(position: Position): void {
    this.#at.set(partitionName(position), position)
  }

  of(topic: string, partition: number): Position {
    return this.#at.get(partitionName({ topic, partition })) ?? { topic, partition, next: 0n }
  }

  /** The position after one read. For a changelog it names no last record, since compaction may remove that. */
  after(before: Position, next: bigint, last: LogRecord | undefined): Position {
    const { topic, partition } = before
    const named = isCompacted(topic) ? undefined : last
    return { topic, partition, next, seen: seenAfter(before, this.#topics.get(topic)?.id ?? '', named) }
  }

  /**
   * Compares every position with the log: once in full, which reads the last record of each, later by topic id.
   * @throws the error of `refuse`
   */
  async compare(how: 'in full' | 'by id'): Promise<void> {
    const topics = await this.#log.topics()
    this.#topics = new Map(topics.map((topic) => [topic.name, topic]))
    const misplaced = how === 'by id' ? misplacedByTopic(topics, this.all) : await misplacedIn(this.#log, this.all)
    if (misplaced.length > 0) await this.#refuse(misplaced)
  }

  /** Call between reading and committing: checks that the records are from the topics that `compare` saw. */
  async compareAgain(positions: Iterable<Position>): Promise<void> {
    const misplaced = misplacedByTopic(await this.#log.topics(), [...positions])
    if (misplaced.length > 0) await this.#refuse(misplaced)
  }

  /** Handles a position beyond its topic's end. @throws the error of `refuse`, unless the condition was temporary */
  async beyondEnd(position: Position): Promise<void> {
    const misplaced = await misplacedIn(this.#log, [position])
    if (misplaced.length > 0) await this.#refuse(misplaced)
  }

  /** The current ends of topics that exist. */
  async endsOf(topics: readonly string[]): Promise<Ends> {
    const ends = await Promise.all(topics.map((topic) => this.#log.endOffsets(topic)))
    return new Map(topics.map((topic, at) => [topic, ends[at] as readonly bigint[]]))
  }

  /** An upper bound of the records of these topics that are not read yet; a topic that does not exist has none. */
  async lag(topics: readonly string[]): Promise<bigint> {
    const exists = new Set((await this.#log.topics()).map(({ name }) => name))
    let behind = 0n
    for (const [topic, ends] of await this.endsOf(topics.filter((topic) => exists.has(topic)))) {
      ends.forEach((end, partition) => {
        const { next } = this.of(topic, partition)
        if (end > next) behind += end - next
      })
    }
    return behind
  }
}
