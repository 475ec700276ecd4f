import type { Actor } from './actor.ts'

/** What `setTimeout` returns while a simulation runs. */
export interface VirtualTimer {
  readonly owner: Actor
  readonly at_ms: number
  readonly callback: () => void
}

const BEGINNING_MS = Date.parse('2026-01-01T00:00:00.000Z')

/** Time that only the scheduler advances: a monotonic clock, and a wall clock that people may set. */
export class VirtualTime {
  /** Since the beginning of the schedule. */
  now_ms = 0
  #set_by_ms = 0
  readonly #timers = new Set<VirtualTimer>()

  get wall_ms(): number {
    return Math.floor(BEGINNING_MS + this.now_ms + this.#set_by_ms)
  }

  /** Moves the wall clock; the monotonic clock does not change. */
  setWall(by_ms: number): void {
    this.#set_by_ms += by_ms
  }

  start(owner: Actor, ms: number, callback: () => void): VirtualTimer {
    const timer = { owner, at_ms: this.now_ms + Math.max(0, ms), callback }
    this.#timers.add(timer)
    return timer
  }

  clear(timer: VirtualTimer): void {
    this.#timers.delete(timer)
  }

  drop(owner: Actor): void {
    for (const timer of this.#timers) if (timer.owner === owner) this.#timers.delete(timer)
  }

  timers(): ReadonlySet<VirtualTimer> {
    return this.#timers
  }
}
