/** What a feed counts since it started: commits by consumer, refusals by consumer and code. */
export class FeedCounts {
  readonly #commits = new Map<string, number>()
  readonly #refusals = new Map<string, Map<string, number>>()

  committed(consumer: string): void {
    this.#commits.set(consumer, this.commits(consumer) + 1)
  }

  commits(consumer: string): number {
    return this.#commits.get(consumer) ?? 0
  }

  /** @param consumer one that the feed has, else anybody could make it count names; '' for a call about no such consumer */
  refused(consumer: string, code: string): void {
    const codes = this.#refusals.get(consumer) ?? new Map<string, number>()
    codes.set(code, (codes.get(code) ?? 0) + 1)
    this.#refusals.set(consumer, codes)
  }

  refusals(consumer: string): ReadonlyMap<string, number> {
    return this.#refusals.get(consumer) ?? new Map()
  }
}
