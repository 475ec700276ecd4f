/** Where a lineage branched off another one. */
export interface Fork {
  readonly lineage: string
  /** The last version of that lineage that counts; −1: none. */
  readonly version: number
}

/** The lineages of a consumer's runs, and how they fork. */
export class Lineages {
  readonly #forks = new Map<string, Fork | null>()

  has(lineage: string): boolean {
    return this.#forks.has(lineage)
  }

  forkOf(lineage: string): Fork | null {
    return this.#forks.get(lineage) ?? null
  }

  add(lineage: string, fork: Fork | null): void {
    if (!this.#forks.has(lineage)) this.#forks.set(lineage, fork)
  }

  entries(): Iterable<[lineage: string, fork: Fork | null]> {
    return this.#forks.entries()
  }

  /** The first lineage of those that fork from each other. */
  rootOf(lineage: string): string {
    let root = lineage
    for (let fork = this.forkOf(root); fork !== null; fork = this.forkOf(root)) root = fork.lineage
    return root
  }

  /**
   * Whether a version of `ancestor` is among those that `lineage` builds on, its own included: `undone` when the lineage
   * forked before it, `other` when it does not come from there.
   */
  standing(lineage: string, ancestor: string, version: number): 'included' | 'undone' | 'other' {
    let limit = Number.POSITIVE_INFINITY
    for (let at: string | undefined = lineage; at !== undefined; ) {
      if (at === ancestor) return version <= limit ? 'included' : 'undone'
      const fork: Fork | null = this.forkOf(at)
      limit = Math.min(limit, fork?.version ?? limit)
      at = fork?.lineage
    }
    return 'other'
  }

  /**
   * The last version that was published in a lineage, or in those that it builds on.
   *
   * @param published the last version of each lineage
   */
  current(lineage: string, published: ReadonlyMap<string, number>): number | undefined {
    let limit = Number.POSITIVE_INFINITY
    for (let at: string | undefined = lineage; at !== undefined; ) {
      const found = published.get(at)
      if (found !== undefined && Math.min(found, limit) >= 0) return Math.min(found, limit)
      const fork: Fork | null = this.forkOf(at)
      limit = Math.min(limit, fork?.version ?? limit)
      at = fork?.lineage
    }
    return undefined
  }
}
