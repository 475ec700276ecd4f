/** How long failed calls wait, in milliseconds. */
export interface Waits {
  /** After the first failure; doubled with each further one … */
  readonly first_ms: number
  /** … up to this. */
  readonly longest_ms: number
  /** After a failure that only a person can fix. */
  readonly permanent_ms: number
}

export interface Failed {
  readonly permanent: boolean
  readonly retry_after_ms: number | undefined
}

/** Upper bound on a requested delay, before up to 10 % of jitter. */
const LONGEST_RETRY_AFTER_MS = 3_600_000

/** Exponential backoff with jitter. Never shorter than the requested delay, of which at most one hour counts. */
export class Backoff {
  readonly #waits: Waits
  readonly #random: () => number
  #failures = 0
  #failed_ms = Number.NEGATIVE_INFINITY
  /** No call before this time. */
  until_ms = 0

  constructor(waits: Waits, random: () => number) {
    this.#waits = waits
    this.#random = random
  }

  /** @returns how long from now to wait */
  failed(how: Failed, started_ms: number, now_ms: number): number {
    // Concurrent calls fail together: that is one failure.
    if (started_ms >= this.#failed_ms) this.#failures++
    this.#failed_ms = now_ms
    this.until_ms = Math.max(this.until_ms, now_ms + this.#wait(how))
    return this.until_ms - now_ms
  }

  #wait({ permanent, retry_after_ms }: Failed): number {
    const { first_ms, longest_ms, permanent_ms } = this.#waits
    const grown = permanent ? permanent_ms : Math.min(longest_ms, first_ms * 2 ** (this.#failures - 1))
    // Half of it is jitter, so that calls that failed together do not retry together.
    const wait = grown * (0.5 + 0.5 * this.#random())
    if (retry_after_ms === undefined) return wait
    return Math.max(wait, Math.min(LONGEST_RETRY_AFTER_MS, retry_after_ms) * (1 + 0.1 * this.#random()))
  }

  /** @returns false when the call began before the last failure: it does not prove recovery */
  succeeded(started_ms: number): boolean {
    if (started_ms < this.#failed_ms) return false
    this.#failures = 0
    this.until_ms = 0
    return true
  }
}
