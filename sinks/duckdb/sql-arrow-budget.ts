/** The byte budget of a batch. Bytes are taken before they are allocated, so nothing too large ever is. */
export class Budget {
  #left: number
  constructor(bytes: number) {
    this.#left = bytes
  }
  take(bytes: number): void {
    this.#left -= bytes
    if (this.#left < 0) throw new TooLargeError()
  }
}
export class TooLargeError extends Error {}
