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

  /** Those that are remembered, what was added first before the others. */
  values(): Iterable<T> {
    return this.#values.values()
  }

  add(value: T): void {
    this.#values.add(value)
    if (this.#values.size > this.#most) this.#values.delete(this.#values.values().next().value as T)
  }
}
