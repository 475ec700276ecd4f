import type { ConsumerState } from './consumer-state.ts'
import { type Caller, current } from './decide/current.ts'

/** When each rank was last heard of, in memory alone. A feed that has just started gives every rank a full period. */
export class Hearing {
  readonly #now_ms: () => number
  #opened_ms: number
  /** When each rank of an epoch was last heard of, and since when this feed listens to that epoch. */
  #heard: { readonly epoch: number; readonly since_ms: number; readonly ranks: Map<number, number> }

  /** @param now_ms a clock that never goes back */
  constructor(epoch: number, now_ms: () => number) {
    this.#now_ms = now_ms
    this.#opened_ms = now_ms()
    this.#heard = { epoch, since_ms: this.#opened_ms, ranks: new Map() }
  }

  /** @throws FeedRefusal for a caller of an earlier epoch */
  hear(state: ConsumerState, caller: Caller): void {
    const { epoch } = current(state, caller).run
    this.listenTo(epoch)
    this.#heard.ranks.set(caller.rank, this.#now_ms())
  }

  listenTo(epoch: number): void {
    if (this.#heard.epoch !== epoch) this.#heard = { epoch, since_ms: this.#now_ms(), ranks: new Map() }
  }

  /** For so long nobody could be heard, because this process did not run. */
  wasDeaf(ms: number): void {
    this.#opened_ms += ms
    for (const [rank, heard_ms] of this.#heard.ranks) this.#heard.ranks.set(rank, heard_ms + ms)
  }

  /** Ranks that have leased groups and have been silent for longer than `lease_ms`. */
  silent({ open }: ConsumerState, lease_ms: number): Set<number> {
    const ranks = new Set<number>()
    if (open.counts.leased === 0) return ranks
    for (const { state, lease } of open.values()) {
      if (state !== 'leased' || lease === undefined || ranks.has(lease.rank)) continue
      const heard_ms = this.#heard.ranks.get(lease.rank) ?? this.#opened_ms
      if (this.#now_ms() - heard_ms > lease_ms) ranks.add(lease.rank)
    }
    return ranks
  }

  /** For how long the most silent rank of this epoch was not heard of here. */
  silenceSeconds(world_size: number): number {
    const { since_ms, ranks } = this.#heard
    let earliest_ms = ranks.size < world_size ? since_ms : Number.POSITIVE_INFINITY
    for (const heard_ms of ranks.values()) earliest_ms = Math.min(earliest_ms, heard_ms)
    return Math.max(0, this.#now_ms() - earliest_ms) / 1_000
  }
}
