export interface Limits {
  /** Calls that run or wait. */
  readonly calls: number
  /** Bytes of their inputs. A larger input is admitted alone. */
  readonly bytes: number
}

/** For what one process runs outside of its event loop. */
export const DEFAULT_LIMITS: Limits = { calls: 64, bytes: 256 * 2 ** 20 }

interface Waiting {
  readonly bytes: number
  readonly enter: () => void
}

/** Bounds what a queue holds, in calls and in bytes: a caller waits until there is room, in the order of arrival. */
export class Admission {
  readonly #limits: Limits
  readonly #waiting: Waiting[] = []
  #calls = 0
  #bytes = 0
  readonly #closed = Promise.withResolvers<void>()
  #closing = false

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** Admits no new call. Resolves when the last one has left. */
  async close(): Promise<void> {
    this.#closing = true
    if (this.#calls > 0) await this.#closed.promise
  }

  /**
   * Resolves when there is room. @returns the function to call, once, when the call has ended
   * @throws the signal's reason; Error after `close`
   */
  async enter(bytes: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#closing) throw new Error('the kernels are closed: their program is ending')
    if (this.#waiting.length > 0 || !this.#fits(bytes)) await this.#wait(bytes, signal)
    else this.#count(bytes)
    return () => {
      this.#calls--
      this.#bytes -= bytes
      this.#admit()
      if (this.#closing && this.#calls === 0) this.#closed.resolve()
    }
  }

  async #wait(bytes: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiting: Waiting = {
      bytes,
      enter: () => {
        this.#count(bytes)
        resolve()
      },
    }
    const leave = () => {
      const at = this.#waiting.indexOf(waiting)
      if (at < 0) return // it has just been admitted
      this.#waiting.splice(at, 1)
      reject(signal.reason)
      this.#admit()
    }
    this.#waiting.push(waiting)
    signal.addEventListener('abort', leave, { once: true })
    await promise.finally(() => signal.removeEventListener('abort', leave))
  }

  #fits(bytes: number): boolean {
    const { calls, bytes: most } = this.#limits
    return this.#calls === 0 || (this.#calls < calls && this.#bytes + bytes <= most)
  }

  #count(bytes: number): void {
    this.#calls++
    this.#bytes += bytes
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      next.enter()
    }
  }
}
