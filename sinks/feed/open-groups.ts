/** Names a group in the log. */
export interface GroupPlace {
  readonly topic_id: string
  readonly partition: number
  readonly offset: number
  readonly group_id: string
}

/** What is known of a group before it has a number. */
export interface FormedGroup extends GroupPlace {
  readonly policy_version_oldest: number | null
  readonly lineage: string | null
  /** Of the record. */
  readonly bytes: number
}

/** A group with its number. */
export interface NumberedGroup extends FormedGroup {
  readonly sequence: number
}

/** Who has a group, and under which fencing token. */
export interface Lease {
  readonly lease: number
  readonly rank: number
}

/** A group that is numbered, and neither durable nor dropped. */
export interface OpenGroup extends NumberedGroup {
  readonly state: 'waiting' | 'leased' | 'applied'
  /** Undefined while it waits. Of an applied group: the lease that it was applied under. */
  readonly lease?: Lease | undefined
  /** The last step that was begun with it in this epoch. */
  readonly begun_in?: number | undefined
  /** The first step that it was applied in, in this epoch. */
  readonly applied_in?: number | undefined
}

/** The open groups of a consumer, by sequence number. Memory grows with what is open, not with what is done. */
export class OpenGroups {
  readonly #groups = new Map<number, OpenGroup>()
  /** Sequence numbers of the waiting ones, ascending. */
  readonly #waiting: number[] = []
  readonly #counts = { waiting: 0, leased: 0, applied: 0 }

  get counts(): Readonly<Record<OpenGroup['state'], number>> {
    return this.#counts
  }

  get(sequence: number): OpenGroup | undefined {
    return this.#groups.get(sequence)
  }

  values(): Iterable<OpenGroup> {
    return this.#groups.values()
  }

  /** Waiting groups of a rank, ascending: those whose sequence ≡ rank modulo the world size. */
  *waiting(rank: number, world_size: number): Iterable<OpenGroup> {
    for (const sequence of this.#waiting) {
      if (sequence % world_size === rank) yield this.#groups.get(sequence) as OpenGroup
    }
  }

  /** Adds a group, or replaces the one of this number. */
  set(group: OpenGroup): void {
    const before = this.#groups.get(group.sequence)
    if (before !== undefined) this.#left(before)
    this.#groups.set(group.sequence, group)
    this.#counts[group.state] += 1
    if (group.state === 'waiting') this.#waiting.splice(this.#placeOf(group.sequence), 0, group.sequence)
  }

  delete(sequence: number): void {
    const before = this.#groups.get(sequence)
    if (before === undefined) return
    this.#left(before)
    this.#groups.delete(sequence)
  }

  #left({ state, sequence }: OpenGroup): void {
    this.#counts[state] -= 1
    if (state === 'waiting') this.#waiting.splice(this.#placeOf(sequence), 1)
  }

  /** Index of the first number that is not smaller. */
  #placeOf(sequence: number): number {
    let [low, high] = [0, this.#waiting.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#waiting[middle] as number) < sequence) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Without what a lease or a step added. */
export const numbered = (group: NumberedGroup): NumberedGroup => ({
  sequence: group.sequence,
  topic_id: group.topic_id,
  partition: group.partition,
  offset: group.offset,
  group_id: group.group_id,
  policy_version_oldest: group.policy_version_oldest,
  lineage: group.lineage,
  bytes: group.bytes,
})

/** The group as it waits under its number. */
export const waitingAgain = (group: NumberedGroup): OpenGroup => ({ ...numbered(group), state: 'waiting' })
