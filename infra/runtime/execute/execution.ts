import type { Deadline, Fold, Processor } from '../../../processors/processor.ts'
import type { ClockDomain, Event } from '../../../schemas/declare/event.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { Deadlines } from './deadlines.ts'
import { asFold } from './effect-fold.ts'
import { emission, type Output } from './emission.ts'
import { type Executed, type Execution, type Failure, faultOf, type Recorded, type StateChange } from './executed.ts'
import { HeldBroadcast, type StoredBroadcast } from './held-broadcast.ts'
import { ProcessorBrokenError } from './processor-broken-error.ts'
import type { Reach } from './reach.ts'
import { CLOCKS_KEY, isBroadcastKey } from './state-keys.ts'
import { TransformExecution } from './transform-execution.ts'

/** A fold or an effect reaches nothing outside. */
export function execute(processor: Exclude<Processor, { shape: 'transform' }>): Execution
export function execute(processor: Processor, reach: Reach): Execution
export function execute(processor: Processor, reach?: Reach): Execution {
  if (processor.shape === 'transform') return new TransformExecution(processor, reach as Reach)
  return new FoldExecution(processor.shape === 'effect' ? asFold(processor) : processor)
}

const MAX_EXPIRY_ROUNDS = 100

/** Per clock: the latest event time and the last tick. Mutated in place, so callers get copies. */
type Clocks = { [clock in ClockDomain]?: { latest: string; ticked?: string } }

class FoldExecution<S> implements Execution {
  #fold: Fold<S, unknown>
  readonly #broadcast: HeldBroadcast
  readonly #states = new Map<string, S>()
  readonly #waiting = new Map<string, S>()
  readonly #deadlines = new Deadlines()
  readonly #changed = new Set<string>()
  #clocks: Clocks = {}

  constructor(fold: Fold<S, unknown>) {
    this.#fold = fold
    this.#broadcast = new HeldBroadcast(fold)
  }

  async process(events: readonly Event[], recorded?: Recorded): Promise<Executed> {
    const outputs: Output[] = []
    const failures: Failure[] = []
    for (const event of events) {
      if (event.type === clockTicked.type) {
        this.#tick(event as Event<typeof clockTicked>, outputs, failures, recorded?.unexpired.get(event))
      } else if (this.#broadcast.takes(event)) {
        this.#attempt({ event }, failures, () => {
          this.#broadcast.apply(event)
          this.#notice(event)
        })
      } else {
        this.#attempt({ event }, failures, () => {
          const emitted = emission(this.#fold, [event])
          const next = this.#fold.apply(this.#states.get(event.key), event, emitted.emit, this.#broadcast.value)
          this.#put(event.key, next)
          this.#notice(event)
          outputs.push(...emitted.outputs)
        })
      }
    }
    return { outputs, blobs: [], failures, batches: [] }
  }

  #notice({ clock, time }: Event): void {
    const known = this.#clocks[clock]
    if (known === undefined) this.#clocks[clock] = { latest: time }
    else if (known.latest >= time) return
    else known.latest = time
    this.#changed.add(CLOCKS_KEY)
  }

  /** A tick that is behind the clock does not turn it back; it fires deadlines that have become due since. */
  #tick(
    event: Event<typeof clockTicked>,
    outputs: Output[],
    failures: Failure[],
    unexpired?: ReadonlySet<string>,
  ): void {
    const { clock, time } = event.data
    const known = this.#clocks[clock]
    const now: Deadline = { clock, time: known?.ticked !== undefined && known.ticked > time ? known.ticked : time }
    if (known?.ticked !== now.time) {
      const latest = known !== undefined && known.latest > now.time ? known.latest : now.time
      this.#clocks[clock] = { latest, ticked: now.time }
      this.#changed.add(CLOCKS_KEY)
    }
    const failed: string[] = []
    for (let round = 0, due = this.#deadlines.due(now); due.length > 0; due = this.#deadlines.due(now)) {
      // An expiry may set a deadline that is already due, but not without end.
      if (++round > MAX_EXPIRY_ROUNDS) {
        throw new ProcessorBrokenError(
          `${this.#fold.name}: expiring key ${due[0]} sets a deadline that is past, ${round} times on one tick; expire must move the deadline or forget the key`,
        )
      }
      for (const key of due) {
        if (unexpired?.has(key)) {
          failed.push(key)
          continue
        }
        const before = failures.length
        this.#attempt({ event, expiring: key }, failures, () => {
          const state = this.#states.get(key)
          if (state === undefined || this.#fold.expire === undefined) return
          const emitted = emission(this.#fold, [])
          const next = this.#fold.expire(state, now, emitted.emit, this.#broadcast.value)
          this.#put(key, next)
          outputs.push(...emitted.outputs)
        })
        if (failures.length > before) failed.push(key)
      }
    }
    // Still due: retried on the next tick, as after a restart.
    for (const key of failed) this.#set(key, this.#states.get(key))
  }

  #attempt(of: Pick<Failure, 'event' | 'expiring'>, failures: Failure[], step: () => void): void {
    try {
      step()
    } catch (error) {
      failures.push({ ...of, ...faultOf(error) })
    }
  }

  #put(key: string, state: S | undefined): void {
    this.#set(key, state)
    this.#changed.add(key)
  }

  #set(event_key: string, state: S | undefined): void {
    const deadline = state === undefined ? undefined : this.#fold.deadline?.(state)
    // `#states` retains the first string of a key; `#deadlines` retains each string it is given.
    const key = this.#states.has(event_key) && deadline === undefined ? event_key : ownText(event_key)
    if (state === undefined) this.#states.delete(key)
    else this.#states.set(key, state)
    if (state !== undefined && this.#fold.waits?.(state)) this.#waiting.set(key, state)
    else this.#waiting.delete(key)
    this.#deadlines.set(key, deadline)
  }

  takeChanges(): StateChange[] {
    const changes = [...this.#changed].map((key) => ({
      key,
      state: key === CLOCKS_KEY ? structuredClone(this.#clocks) : this.#states.get(key),
    }))
    this.#changed.clear()
    return [...changes, ...this.#broadcast.takeChanges()]
  }

  restore(key: string, state: unknown): void {
    if (key === CLOCKS_KEY) this.#clocks = structuredClone(state ?? {}) as Clocks
    else if (isBroadcastKey(key)) this.#broadcast.restore(key, state as StoredBroadcast | undefined)
    else this.#set(key, state as S | undefined)
  }

  states(): [string, unknown][] {
    const all: [string, unknown][] = [...this.#states, ...this.#broadcast.states()]
    if (Object.keys(this.#clocks).length > 0) all.push([CLOCKS_KEY, structuredClone(this.#clocks)])
    return all.sort(([a], [b]) => (a < b ? -1 : 1))
  }

  waiting(): ReadonlyMap<string, unknown> {
    return this.#waiting
  }

  broadcast(): unknown {
    return this.#broadcast.value
  }

  latestDeadline(clock: ClockDomain): string | undefined {
    return this.#deadlines.latest(clock)
  }

  unticked(clock: ClockDomain): string | undefined {
    const known = this.#clocks[clock]
    return known === undefined || known.latest === known.ticked ? undefined : known.latest
  }

  lacks(): string | undefined {
    return this.#broadcast.lacks()
  }

  become(processor: Processor): void {
    this.#fold =
      processor.shape === 'effect'
        ? (asFold(processor) as unknown as Fold<S, unknown>)
        : (processor as Fold<S, unknown>)
    this.#broadcast.become(processor)
  }
}

/**
 * A copy that is not a slice of a longer string. V8 retains the whole string that a slice was cut from, so a key stored
 * for days would retain all headers of its record.
 */
const ownText = (text: string): string => Buffer.from(text).toString()
