import { SqlRefusedError } from './sql-errors.ts'

export interface PlacesOptions {
  /** How many answers may run at once. */
  readonly most: number
  /** How many more may wait for a place, and for how long. */
  readonly most_waiting?: number
  readonly patience_ms?: number
  /** An answer that is unread for this long is cut off; sooner while another waits for a place. */
  readonly unread_ms?: number
  readonly unread_while_waiting_ms?: number
}

/** One answer's place. */
export interface Place {
  /** Waits for the reader to take what was written. Meanwhile the answer counts as unread. */
  unread<T>(taken: Promise<T>): Promise<T>
  /** Gives the place to the next one. */
  leave(): void
}

interface Taken {
  /** Since when its reader has taken nothing, by `performance.now()`. */
  unread_since: number | undefined
  readonly cutOff: () => void
}
interface Waiting {
  readonly cutOff: () => void
  readonly seated: (place: Place) => void
  readonly timer: NodeJS.Timeout
}

/**
 * Limits how many answers run at once. A reader that does not read must not block others or keep its snapshot open, so
 * it is cut off. New questions wait meanwhile instead of being refused at once.
 */
export class Places {
  readonly #options: Required<PlacesOptions>
  readonly #taken = new Set<Taken>()
  readonly #waiting: Waiting[] = []
  #watch: NodeJS.Timeout | undefined

  constructor(options: PlacesOptions) {
    const patience = { most_waiting: 64, patience_ms: 10_000, unread_ms: 30_000, unread_while_waiting_ms: 3_000 }
    this.#options = { ...patience, ...options }
  }

  /**
   * @param cutOff Ends the answer at once, when its reader does not read.
   * @throws SqlRefusedError when all places stay taken.
   */
  take(cutOff: () => void): Promise<Place> {
    if (this.#taken.size < this.#options.most) return Promise.resolve(this.#seat(cutOff))
    if (this.#waiting.length >= this.#options.most_waiting) return Promise.reject(this.#full())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        reject(this.#full())
      }, this.#options.patience_ms)
      const waiting: Waiting = { cutOff, seated: resolve, timer }
      this.#waiting.push(waiting)
    })
  }

  #full(): SqlRefusedError {
    return new SqlRefusedError(`${this.#options.most} statements run already; try again when one has finished`)
  }

  #seat(cutOff: () => void): Place {
    const taken: Taken = { unread_since: undefined, cutOff }
    this.#taken.add(taken)
    this.#watch ??= setInterval(() => this.#cutOffUnread(), 250).unref()
    return {
      async unread(promise) {
        taken.unread_since = performance.now()
        try {
          return await promise
        } finally {
          taken.unread_since = undefined
        }
      },
      leave: () => this.#leave(taken),
    }
  }

  #leave(taken: Taken): void {
    if (!this.#taken.delete(taken)) return
    const next = this.#waiting.shift()
    if (next !== undefined) {
      clearTimeout(next.timer)
      next.seated(this.#seat(next.cutOff))
    } else if (this.#taken.size === 0) {
      clearInterval(this.#watch)
      this.#watch = undefined
    }
  }

  /** Each waiting answer needs one place; the one unread for longest is cut off first. */
  #cutOffUnread(): void {
    const { unread_ms, unread_while_waiting_ms } = this.#options
    const now = performance.now()
    let needed = this.#waiting.length
    const unread = [...this.#taken]
      .flatMap((taken) => (taken.unread_since === undefined ? [] : [{ taken, for_ms: now - taken.unread_since }]))
      .sort((left, right) => right.for_ms - left.for_ms)
    for (const { taken, for_ms } of unread) {
      if (for_ms < unread_ms && (needed <= 0 || for_ms < unread_while_waiting_ms)) continue
      needed -= 1
      taken.cutOff()
    }
  }
}
