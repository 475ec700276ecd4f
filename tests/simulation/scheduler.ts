import { createHash } from 'node:crypto'
import { type Random, random } from '../../environments/tower/random.ts'
import type { Actor } from './actor.ts'
import type { FaultKind } from './fault-kinds.ts'
import type { Faults } from './faults.ts'
import { settled } from './host-stand-ins.ts'
import type { Turn, TurnOptions } from './turn.ts'
import type { VirtualTime } from './virtual-time.ts'

/**
 * Decides which actor runs: one turn or due timer at a time, drawn from the seed, with everything that follows from it
 * before the next one. Time advances a little with every step, and jumps when no actor can run.
 */
export class Scheduler {
  readonly time: VirtualTime
  steps = 0
  /** The actor whose code runs now; undefined between steps. */
  running: Actor | undefined
  readonly #faults: Faults
  readonly #random: Random
  readonly #strike: (kind: FaultKind, turn: Turn) => 'struck' | 'goes on'
  readonly #hash = createHash('sha256')
  readonly #onStep: ((line: string) => void) | undefined
  #trace = ''
  #waiting: Turn[] = []

  constructor(options: {
    readonly seed: string
    readonly time: VirtualTime
    readonly faults: Faults
    /** Applies a fault to a whole process. */
    readonly strike: (kind: FaultKind, turn: Turn) => 'struck' | 'goes on'
    readonly onStep?: ((line: string) => void) | undefined
  }) {
    this.time = options.time
    this.#faults = options.faults
    this.#strike = options.strike
    this.#random = random('simulation', 'order', options.seed)
    this.#onStep = options.onStep
  }

  /** Resolves with the fault, if any, when it is this actor's turn; never if the actor is killed before. */
  turn(owner: Actor, what: string, options: TurnOptions = {}): Promise<FaultKind | undefined> {
    const { commits = false, may_fail = false, is_delicate = false, needs_blobs = false } = options
    const { until_ms = 0, ready = () => true } = options
    return new Promise((go) => {
      this.#waiting.push({ owner, what, commits, may_fail, is_delicate, needs_blobs, until_ms, ready, go })
    })
  }

  /** Runs code as another actor in the middle of a step. */
  run(actor: Actor, code: () => void): void {
    const before = this.running
    this.running = actor
    code()
    this.running = before
  }

  /** Runs code of an actor and everything that follows from it without another turn. */
  async #settle(actor: Actor, code: () => void): Promise<void> {
    this.running = actor
    code()
    await settled()
    this.running = undefined
  }

  /** @returns false when nothing can ever happen again */
  async step(): Promise<boolean> {
    const { time } = this
    time.now_ms += this.#random.integer(0, 2)
    this.#waiting = this.#waiting.filter(({ owner }) => owner.state !== 'dead')
    const able = this.#able()
    if (able.length === 0) {
      const next_ms = this.#nextMs()
      if (!Number.isFinite(next_ms)) return false
      time.now_ms = Math.max(time.now_ms, next_ms)
      return true
    }
    const chosen = able[this.#draw(able.map(({ owner }) => owner.pace))] as (typeof able)[number]
    this.steps++
    if ('callback' in chosen) {
      this.note(`${chosen.owner.name} timer`)
      time.clear(chosen)
      await this.#settle(chosen.owner, chosen.callback)
      return true
    }
    const fault = this.#faults.draw(chosen, time.now_ms)
    this.note(`${chosen.owner.name} ${chosen.what}${fault === undefined ? '' : ` !${fault}`}`)
    await this.#settle(chosen.owner, () => {
      if (fault !== undefined && this.#strike(fault, chosen) === 'struck') return
      this.#waiting.splice(this.#waiting.indexOf(chosen), 1)
      chosen.go(fault)
    })
    return true
  }

  /** Adds a line to the trace, whose hash tells two runs apart. */
  note(line: string): void {
    const timed = `${this.time.now_ms} ${line}\n`
    this.#trace += timed
    if (this.#trace.length > 10_000) this.#flush()
    this.#onStep?.(timed)
  }

  /** Ends the trace. @returns the first 16 digits of its hash */
  digest(): string {
    this.#flush()
    return this.#hash.digest('hex').slice(0, 16)
  }

  #flush(): void {
    this.#hash.update(this.#trace)
    this.#trace = ''
  }

  #able() {
    const { now_ms } = this.time
    const turns = this.#waiting.filter(
      (turn) => turn.owner.state === 'running' && (turn.until_ms <= now_ms || turn.ready()),
    )
    const due = [...this.time.timers()].filter(({ owner, at_ms }) => owner.state === 'running' && at_ms <= now_ms)
    return [...turns, ...due]
  }

  #nextMs(): number {
    let next_ms = Number.POSITIVE_INFINITY
    for (const { owner, until_ms } of this.#waiting)
      if (owner.state === 'running') next_ms = Math.min(next_ms, until_ms)
    for (const { owner, at_ms } of this.time.timers()) if (owner.state === 'running') next_ms = Math.min(next_ms, at_ms)
    return next_ms
  }

  #draw(weights: readonly number[]): number {
    let left = this.#random.uniform() * weights.reduce((sum, weight) => sum + weight, 0)
    for (let at = 0; at < weights.length; at++) {
      left -= weights[at] as number
      if (left < 0) return at
    }
    return weights.length - 1
  }
}
