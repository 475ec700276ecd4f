/** A bounded set, which forgets what was added first. */
export class Remembered<T> {
  readonly #most: number
  readonly #values = new Set<T>()

  constructor(most: number) {
    this.#most = most
  }

  has(value: T): boolean {
    return this.#values.has(value)
  }

  add(value: T): void {
    this.#values.add(value)
    if (this.#values.size > this.#most) this.#values.delete(this.#values.values().next().value as T)
  }
}
