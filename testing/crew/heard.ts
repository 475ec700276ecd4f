import type { Message } from './message.ts'
import type { Place } from './places.ts'

export interface Said {
  readonly place: Place
  readonly pid: number | undefined
  readonly message: Message
}

/** All messages from the processes, and a way to wait for the next ones. */
export class Heard {
  readonly #all: Said[] = []
  #waiting: (() => void)[] = []

  /** Index of the next message. */
  get now(): number {
    return this.#all.length
  }

  add(said: Said): void {
    this.#all.push(said)
    for (const wake of this.#waiting.splice(0)) wake()
  }

  since(from: number): readonly Said[] {
    return this.#all.slice(from)
  }

  /** The first message from index `from` on that fits, or undefined when there is none within the limit. */
  async first(from: number, limit_ms: number, fits: (said: Said) => boolean): Promise<Said | undefined> {
    const deadline_ms = performance.now() + limit_ms
    for (let at = from; ; ) {
      for (; at < this.#all.length; at++) {
        const said = this.#all[at] as Said
        if (fits(said)) return said
      }
      const left_ms = deadline_ms - performance.now()
      if (left_ms <= 0) return undefined
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left_ms)
        this.#waiting.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
  }
}
