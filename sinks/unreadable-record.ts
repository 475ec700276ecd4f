import type { Position } from '../infra/log/port/log.ts'

/** A record's place in the log. */
export interface Place extends Pick<Position, 'topic' | 'partition'> {
  readonly offset: bigint
}

/** A record that a sink cannot read now, or a gap that retention left before it was read: the place of its first offset. */
export interface UnreadableRecord extends Place {
  readonly ce_id: string | null
  /** The reason. */
  readonly error: string
}

/** How many records of each topic a sink cannot read; topics that have none are left out. */
export type UnreadableCounts = Readonly<Record<string, number>>

export const unreadableTotal = (counts: UnreadableCounts) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0)

/** Reports to a person when the number of unreadable records has changed. */
export class UnreadableNews {
  readonly #who: string
  readonly #textOf: (count: number) => string
  readonly #report: ((message: string) => void) | undefined
  #told: number

  /**
   * @param who the subject of messages: `the DuckDB sink`
   * @param textOf as `Sink.unreadableText`
   * @param told how many need no report
   */
  constructor(who: string, textOf: (count: number) => string, report?: (message: string) => void, told = 0) {
    this.#who = who
    this.#textOf = textOf
    this.#report = report
    this.#told = told
  }

  now(counts: UnreadableCounts): void {
    const [before, now] = [this.#told, unreadableTotal(counts)]
    this.#told = now
    if (now > before) this.#report?.(`${this.#who} cannot read ${this.#textOf(now)}`)
    else if (now < before)
      this.#report?.(`${this.#who} has loaded or skipped ${before - now} of the records that it could not read`)
  }
}
