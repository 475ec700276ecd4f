/** One difference between a log and what it should hold. */
export interface Difference {
  /**
   * A rebuilt event is `different` or `missing`. A recorded event is `unexpected`, or its `ce_source` may not emit it
   * (`producer`). `unreadable`: cannot be decoded, and is no dead letter. `failed`: an input that was processed once
   * and fails now. `damaged`: the log cannot return the bytes. `state`: a state in a changelog or snapshot.
   * `unregistered`: a topic of no event type. `blob`: a referenced blob is missing or changed. `table`: a row of
   * DuckDB.
   */
  readonly kind:
    | 'different'
    | 'missing'
    | 'unexpected'
    | 'producer'
    | 'unreadable'
    | 'failed'
    | 'damaged'
    | 'state'
    | 'unregistered'
    | 'blob'
    | 'table'
  /** The processor, or the part of the verification, that found it. */
  readonly processor: string
  readonly ce_id: string
  /** Event type, partition and offset of the recorded event, or where it should be. */
  readonly where: string
  /** What differs, with both values. */
  readonly message: string
}

/** At most this many are listed; all are counted. */
const MOST_NAMED = 20

export class Findings {
  readonly named: Difference[] = []
  #count = 0
  readonly #by: string

  constructor(by: string) {
    this.#by = by
  }

  get count(): number {
    return this.#count
  }

  add(kind: Difference['kind'], where: string, message: string, ce_id = '?'): void {
    this.#count++
    if (this.named.length < MOST_NAMED) this.named.push({ kind, processor: this.#by, ce_id, where, message })
  }

  addAll(other: Findings): void {
    this.#count += other.#count
    this.named.push(...other.named.slice(0, MOST_NAMED - this.named.length))
  }
}
