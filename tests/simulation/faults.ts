import { type Random, random } from '../../environments/tower/random.ts'
import { FAULTS, type FaultKind } from './fault-kinds.ts'
import type { Turn } from './turn.ts'

export interface Fault {
  /** Number among the drawn faults, by which a fault can be left out. */
  readonly number: number
  readonly kind: FaultKind
  readonly at_ms: number
  readonly who: string
  readonly what: string
}

/** High, because calls of the blob store are rare. */
const AWAY_RATE = 0.3
const OF_COMMITS: readonly FaultKind[] = ['commit refused', 'commit unanswered', 'commit late', 'fenced']
const OF_WORKERS: readonly FaultKind[] = ['restart', 'newcomer', 'stall and substitute']
const KINDS = Object.keys(FAULTS) as FaultKind[]

/**
 * Draws the faults. Each schedule has some kinds and not others, and at most 12 faults. A run in which everything
 * always fails makes no progress, and hides bugs that need one fault and then a long time without any ("swarm testing",
 * Groce and others, ISSTA 2012).
 */
export class Faults {
  readonly #random: Random
  readonly #only: ReadonlySet<number> | undefined
  readonly #rates = new Map<FaultKind, number>()
  #left: number
  #drawn = 0
  readonly injected: Fault[] = []

  /** @param only numbers of the faults to inject; others are drawn but not injected; undefined: all */
  constructor(seed: string, only?: ReadonlySet<number>) {
    this.#random = random('simulation', 'faults', seed)
    this.#only = only
    this.#left = this.#random.integer(0, 12)
    for (const kind of KINDS) {
      if (this.#random.uniform() < 0.4)
        this.#rates.set(kind, kind === 'blobs away' ? AWAY_RATE : OF_COMMITS.includes(kind) ? 0.05 : 0.005)
    }
  }

  /** No faults from now on. */
  end(): void {
    this.#left = 0
  }

  draw(turn: Turn, now_ms: number): FaultKind | undefined {
    if (this.#left === 0) return undefined
    let chance = this.#random.uniform()
    for (const [kind, rate] of this.#rates) {
      if (OF_COMMITS.includes(kind) ? !turn.commits : false) continue
      if (OF_WORKERS.includes(kind) && !turn.owner.is_worker) continue
      if (kind === 'call failed' && !turn.may_fail) continue
      if (kind === 'blobs away' && !turn.needs_blobs) continue
      // Most bugs show when a fault interrupts an operation, so faults are 8 times as likely there.
      chance -= turn.is_delicate && !OF_COMMITS.includes(kind) && kind !== 'blobs away' ? 8 * rate : rate
      if (chance < 0) return this.#inject(kind, turn, now_ms)
    }
    return undefined
  }

  #inject(kind: FaultKind, { owner, what }: Turn, now_ms: number): FaultKind | undefined {
    this.#left--
    const number = ++this.#drawn
    if (this.#only !== undefined && !this.#only.has(number)) return undefined
    this.injected.push({ number, kind, at_ms: now_ms, who: owner.name, what })
    return kind
  }

  /** Draws a duration, e.g. of a stall or until a late arrival. */
  length_ms(shortest: number, longest: number): number {
    return this.#random.integer(shortest, longest)
  }
}
