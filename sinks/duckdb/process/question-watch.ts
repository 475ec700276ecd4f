/** At its limit, the process that answers a question interrupts it; this much later that process is killed. */
const GRACE_MS = 2_000
/** Time to process an answer that has already arrived. */
const HEARING_MS = 250

/**
 * Tracks the questions that a process is answering, and reports one that exceeds its time limit: DuckDB ignored the
 * interrupt, or the process no longer responds. That is why another process watches.
 */
export class QuestionWatch {
  readonly #running = new Map<number, NodeJS.Timeout>()
  readonly #late: (time_limit_ms: number) => void

  constructor(late: (time_limit_ms: number) => void) {
    this.#late = late
  }

  get count(): number {
    return this.#running.size
  }

  begin(question: number, time_limit_ms: number): void {
    const expire = () => this.#plan(question, HEARING_MS, () => this.#late(time_limit_ms))
    this.#plan(question, time_limit_ms + GRACE_MS, expire)
  }

  end(question: number): void {
    clearTimeout(this.#running.get(question))
    this.#running.delete(question)
  }

  stop(): void {
    for (const question of [...this.#running.keys()]) this.end(question)
  }

  #plan(question: number, ms: number, then: () => void): void {
    this.#running.set(question, setTimeout(then, ms).unref())
  }
}
