import { ProcessorBrokenError } from '../execute/processor-broken-error.ts'
import type { DeadLetter } from '../internal/internal-topics.ts'

/** Distinguishes a few records that a processor fails on from a broken processor. */
export class BugWatch {
  readonly #processor: string
  readonly #max_bugs: number
  readonly #window: number
  /** The record count at each of the latest bugs. */
  #bugs: number[] = []
  #records = 0

  constructor(processor: string, limits: { readonly max_bugs: number; readonly bug_window: number }) {
    this.#processor = processor
    this.#max_bugs = limits.max_bugs
    this.#window = limits.bug_window
  }

  /** @throws ProcessorBrokenError when more than `max_bugs` of the last `bug_window` records hit a bug. */
  see(records: number, letters: readonly DeadLetter[]): void {
    this.#records += records
    const bugs = letters.filter((letter) => letter.failure === 'bug')
    this.#bugs = [...this.#bugs, ...bugs.map(() => this.#records)].filter((at) => at > this.#records - this.#window)
    const culprit = bugs.at(-1)
    if (culprit === undefined || this.#bugs.length <= this.#max_bugs) return
    const { topic, partition, offset, error } = culprit
    throw new ProcessorBrokenError(
      `${this.#processor}: ${this.#bugs.length} of the last ${this.#window} records made it fail, ` +
        `the latest ${topic} partition ${partition} offset ${offset}: ${error}. ` +
        'It stopped before committing them; correct the processor and run again.',
    )
  }
}
