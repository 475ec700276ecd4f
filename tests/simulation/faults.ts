import { type Random, random } from '../../environments/tower/random.ts'
import { FAULTS, type FaultKind } from './fault-kinds.ts'
import type { Turn } from './turn.ts'

export interface Fault {
  /** Counts what was drawn, so that a fault can be left out by its number. */
  readonly number: number
  readonly kind: FaultKind
  readonly at_ms: number
  readonly who: string
  readonly what: string
}

const OF_COMMITS: readonly FaultKind[] = ['commit refused', 'commit unanswered', 'commit late', 'fenced']
const OF_WORKERS: readonly FaultKind[] = ['restart', 'newcomer', 'stall and substitute']
const KINDS = Object.keys(FAULTS) as FaultKind[]

/**
 * Draws what goes wrong. Each schedule has some kinds and not others, at rates of its own: a run in which everything
 * fails all the time gets nowhere, and hides what takes one fault and then a long time without ("swarm testing", Groce
 * and others, ISSTA 2012).
 */
export class Faults {
  readonly #random: Random
  readonly #only: ReadonlySet<number> | undefined
  readonly #rates = new Map<FaultKind, number>()
  #left: number
  #drawn = 0
  readonly injected: Fault[] = []

  /** @param only the numbers of those that are injected, others are drawn and left out; everything when left out */
  constructor(seed: string, only?: ReadonlySet<number>) {
    this.#random = random('simulation', 'faults', seed)
    this.#only = only
    this.#left = this.#random.integer(0, 12)
    for (const kind of KINDS) {
      if (this.#random.uniform() < 0.4) this.#rates.set(kind, OF_COMMITS.includes(kind) ? 0.05 : 0.005)
    }
  }

  /** From now on all goes well. */
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
      // Most that can go wrong goes wrong between what belongs together.
      chance -= turn.is_delicate && !OF_COMMITS.includes(kind) ? 8 * rate : rate
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

  /** How long a stall takes, a wait before a late arrival, and the like. */
  length_ms(shortest: number, longest: number): number {
    return this.#random.integer(shortest, longest)
  }
}
