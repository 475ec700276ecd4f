import { sleep } from '../infra/sleep.ts'
import type { Emitted } from './source.ts'

/** Limits a source: by time, or by the demand of its readers. */
export interface Pace {
  /**
   * How many steps may be taken now. Waits until at least one may, or until `signal` is aborted; then the answer does not
   * matter. Permitting does not count them: `taken` does.
   *
   * @throws Error when what it depends on fails, e.g. the log whose readers it looks at
   */
  permit(signal: AbortSignal): Promise<number>
  /** So many steps were committed, with these events. */
  taken(steps: number, emitted: readonly Emitted[]): void
}

/** As fast as the log takes it. */
export const UNPACED: Pace = { permit: async () => Number.POSITIVE_INFINITY, taken: () => {} }

/** At high rates, this many steps' worth of time are appended at once, so that a commit is worth its flush. Inferred. */
const TOGETHER_MS = 100

/** At most so many steps a second. Time in which the source was slower is not made up for: no burst follows it. */
export function perSecond(rate: number): Pace {
  const steps_at_once = Math.max(1, (rate * TOGETHER_MS) / 1_000)
  let left = 1
  let counted_ms = performance.now()
  const count = () => {
    const now_ms = performance.now()
    left = Math.min(steps_at_once, left + ((now_ms - counted_ms) * rate) / 1_000)
    counted_ms = now_ms
  }
  return {
    async permit(signal) {
      for (count(); left < Math.floor(steps_at_once) && !signal.aborted; count()) {
        // A timer may fire a little early, and what is left to wait for may be less than its resolution.
        await sleep(Math.max(1, ((Math.floor(steps_at_once) - left) / rate) * 1_000), signal)
      }
      return Math.floor(left)
    },
    taken(steps) {
      left -= steps
    },
  }
}

/** As much as all of them permit. */
export function everyOf(paces: readonly Pace[]): Pace {
  return {
    async permit(signal) {
      let most = Number.POSITIVE_INFINITY
      for (const pace of paces) most = Math.min(most, await pace.permit(signal))
      return most
    },
    taken(steps, emitted) {
      for (const pace of paces) pace.taken(steps, emitted)
    },
  }
}
