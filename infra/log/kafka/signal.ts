import { setTimeout as sleep } from 'node:timers/promises'

/** Wakes the waiting call. A signal given while none waits makes the next `wait` return at once. */
export class Signal {
  #given = false
  #wake: (() => void) | undefined

  give(): void {
    this.#given = true
    this.#wake?.()
  }

  async wait(ms: number): Promise<void> {
    if (!this.#given) {
      const stop = new AbortController()
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#wake = resolve
        }),
        sleep(ms, undefined, { signal: stop.signal }).catch(() => undefined),
      ])
      stop.abort()
    }
    this.#given = false
    this.#wake = undefined
  }
}
