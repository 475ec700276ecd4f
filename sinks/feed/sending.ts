/** Bounds the bytes of answers that are under way: a client that does not read must not fill the memory. */
export class Sending {
  readonly #most: number
  #bytes = 0
  readonly #waiting: (() => void)[] = []

  /** @param most bytes under way; one answer may exceed it alone */
  constructor(most: number) {
    this.#most = most
  }

  /** Waits for room. @returns to be called once the answer is sent or given up. @throws the signal's reason */
  async enter(bytes: number, signal: AbortSignal): Promise<() => void> {
    while (this.#bytes > 0 && this.#bytes + bytes > this.#most) {
      signal.throwIfAborted()
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve)
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
    }
    this.#bytes += bytes
    let is_under_way = true
    return () => {
      if (!is_under_way) return
      is_under_way = false
      this.#bytes -= bytes
      for (const wake of this.#waiting.splice(0)) wake()
    }
  }
}
