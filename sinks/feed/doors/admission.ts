import { Sending } from '../sending.ts'

/** A call that found no room in time. It has had no effect. */
export class BusyError extends Error {
  override readonly name = 'BusyError'
  readonly retry = 'later'
}

/** Bounds what several calls hold at once, and how long one waits for room. */
export class Admission {
  readonly #room: Sending
  readonly #wait_ms: number
  readonly #what: string

  constructor(most: number, wait_ms: number, what: string) {
    this.#room = new Sending(most)
    this.#wait_ms = wait_ms
    this.#what = what
  }

  /** @throws BusyError when there was no room in time */
  async during<A>(size: number, work: () => Promise<A>): Promise<A> {
    const signal = AbortSignal.timeout(this.#wait_ms)
    const leave = await this.#room.enter(size, signal).catch((cause: unknown) => {
      throw new BusyError(`too many calls ${this.#what} at once; repeat this one`, { cause })
    })
    try {
      return await work()
    } finally {
      leave()
    }
  }
}
