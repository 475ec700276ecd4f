import { longerPause, retryOf } from '../infra/retry.ts'
import { sleep } from '../infra/sleep.ts'

export interface RetryingOptions {
  /** The subject of messages: `the DuckDB sink`. */
  readonly who: string
  /** How long to wait before looking for new records, after a pass that found none. */
  readonly poll_ms: number
  readonly report?: ((message: string) => void) | undefined
}

/** How a sink runs: pass after pass; after a failure with growing pauses, forever. */
export class Retrying {
  readonly #options: RetryingOptions
  /** Why the last pass failed, if it did. */
  trouble: string | undefined
  retries = 0

  constructor(options: RetryingOptions) {
    this.#options = options
  }

  /**
   * Repeats `pass` until aborted. A failure is reported when it begins and when it is over.
   *
   * @param pass resolves to how many records it has read
   * @param is_over whether a failure is final, whatever it says about retries
   * @throws Error that a retry cannot fix
   */
  async run(pass: () => Promise<number>, signal: AbortSignal, is_over: () => boolean): Promise<void> {
    const { who, poll_ms, report } = this.#options
    let pause_ms = 0
    while (!signal.aborted) {
      try {
        const records = await pass()
        if (pause_ms > 0) report?.(`${who} loads again`)
        pause_ms = 0
        this.trouble = undefined
        if (records === 0) await sleep(poll_ms, signal)
      } catch (cause) {
        if (retryOf(cause) === 'never' || is_over()) throw cause
        const first = pause_ms === 0
        pause_ms = longerPause(pause_ms)
        const message = cause instanceof Error ? cause.message : String(cause)
        this.trouble = message
        this.retries += 1
        if (first) report?.(`${who} cannot load and tries again, nothing is lost: ${message}`)
        await sleep(pause_ms, signal)
      }
    }
  }
}
