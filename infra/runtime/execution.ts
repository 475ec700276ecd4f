import { type Deadline, type Fold, InvariantError, type Processor, type Transform } from '../../processors/processor.ts'
import { clockTicked } from '../../schemas/clock.ts'
import type { ClockDomain, Event } from '../../schemas/event.ts'
import { ProcessorBrokenError } from './bug-watch.ts'
import { Deadlines } from './deadlines.ts'
import { asFold } from './effect-fold.ts'
import { emission, type Output } from './emission.ts'

/** An input that its processor could not take; the state is as if it had never come. */
export interface Failure {
  readonly event: Event
  readonly failure: 'poison' | 'bug'
  readonly error: Error
}

export interface Executed {
  readonly outputs: readonly Output[]
  readonly failures: readonly Failure[]
}

/** A changed key of a task's state; `undefined` forgets it. */
export interface StateChange {
  readonly key: string
  readonly state: unknown
}

/**
 * One processor on one partition, without log, clock or files: events in, outputs and state changes out. The worker,
 * `verify`, a rebuild and the test driver all run processors through this and nothing else.
 */
export interface Execution {
  process(events: readonly Event[]): Promise<Executed>
  /** Keys changed since the last call. */
  takeChanges(): StateChange[]
  /** Puts back a state from a snapshot or changelog; not a change. */
  restore(key: string, state: unknown): void
  /** Every key with its state, sorted by key. */
  states(): [string, unknown][]
  /** The states that wait for something that is no event, by key, in the order in which they began to. */
  waiting(): ReadonlyMap<string, unknown>
  latestDeadline(clock: ClockDomain): string | undefined
  /** The latest event time seen on a clock, when no tick has come that far yet. */
  unticked(clock: ClockDomain): string | undefined
  /** Goes on with another variant or version of the same processor and keeps the state. */
  become(processor: Processor): void
}

export function execute(processor: Processor): Execution {
  if (processor.shape === 'transform') return new TransformExecution(processor)
  return new FoldExecution(processor.shape === 'effect' ? asFold(processor) : processor)
}

const MAX_EXPIRY_ROUNDS = 100

/** State key under which a fold task keeps the time of its clocks; no event key contains U+0000. */
const CLOCKS_KEY = '\u0000clocks'

/** Per clock: the latest event time seen, and the time of the last tick. Changes with every event: handed out as copies. */
type Clocks = { [clock in ClockDomain]?: { latest: string; ticked?: string } }

class FoldExecution<S> implements Execution {
  #fold: Fold<S>
  readonly #states = new Map<string, S>()
  readonly #waiting = new Map<string, S>()
  readonly #deadlines = new Deadlines()
  readonly #changed = new Set<string>()
  #clocks: Clocks = {}

  constructor(fold: Fold<S>) {
    this.#fold = fold
  }

  async process(events: readonly Event[]): Promise<Executed> {
    const outputs: Output[] = []
    const failures: Failure[] = []
    for (const event of events) {
      if (event.type === clockTicked.type) {
        this.#tick(event as Event<typeof clockTicked>, outputs, failures)
      } else {
        this.#attempt(event, failures, () => {
          const said = emission(this.#fold, [event])
          const next = this.#fold.apply(this.#states.get(event.key), event, said.emit)
          this.#put(event.key, next)
          this.#notice(event)
          outputs.push(...said.outputs)
        })
      }
    }
    return { outputs, failures }
  }

  #notice({ clock, time }: Event): void {
    const known = this.#clocks[clock]
    if (known === undefined) this.#clocks[clock] = { latest: time }
    else if (known.latest >= time) return
    else known.latest = time
    this.#changed.add(CLOCKS_KEY)
  }

  /** A tick behind the clock does not turn it back; it fires what has become due since. */
  #tick(event: Event<typeof clockTicked>, outputs: Output[], failures: Failure[]): void {
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
      // An expiry may set a deadline that is due already, but not for ever.
      if (++round > MAX_EXPIRY_ROUNDS) {
        throw new ProcessorBrokenError(
          `${this.#fold.name}: expiring key ${due[0]} sets a deadline that is past, ${round} times on one tick; expire must move the deadline or forget the key`,
        )
      }
      for (const key of due) {
        const before = failures.length
        this.#attempt(event, failures, () => {
          const state = this.#states.get(key)
          if (state === undefined || this.#fold.expire === undefined) return
          const said = emission(this.#fold, [])
          const next = this.#fold.expire(state, now, said.emit)
          this.#put(key, next)
          outputs.push(...said.outputs)
        })
        if (failures.length > before) failed.push(key)
      }
    }
    // Due still: tried again on the next tick, as it would be after a restart.
    for (const key of failed) this.#set(key, this.#states.get(key))
  }

  #attempt(event: Event, failures: Failure[], step: () => void): void {
    try {
      step()
    } catch (error) {
      failures.push({ event, failure: error instanceof InvariantError ? 'poison' : 'bug', error: asError(error) })
    }
  }

  #put(key: string, state: S | undefined): void {
    this.#set(key, state)
    this.#changed.add(key)
  }

  #set(event_key: string, state: S | undefined): void {
    const deadline = state === undefined ? undefined : this.#fold.deadline?.(state)
    // A map keeps the key that it was given first; the deadlines keep each.
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
    return changes
  }

  restore(key: string, state: unknown): void {
    if (key === CLOCKS_KEY) this.#clocks = structuredClone(state ?? {}) as Clocks
    else this.#set(key, state as S | undefined)
  }

  states(): [string, unknown][] {
    const all: [string, unknown][] = [...this.#states]
    if (Object.keys(this.#clocks).length > 0) all.push([CLOCKS_KEY, structuredClone(this.#clocks)])
    return all.sort(([a], [b]) => (a < b ? -1 : 1))
  }

  waiting(): ReadonlyMap<string, unknown> {
    return this.#waiting
  }

  latestDeadline(clock: ClockDomain): string | undefined {
    return this.#deadlines.latest(clock)
  }

  unticked(clock: ClockDomain): string | undefined {
    const known = this.#clocks[clock]
    return known === undefined || known.latest === known.ticked ? undefined : known.latest
  }

  become(processor: Processor): void {
    this.#fold = processor.shape === 'effect' ? (asFold(processor) as Fold<S>) : (processor as Fold<S>)
  }
}

class TransformExecution implements Execution {
  #transform: Transform

  constructor(transform: Transform) {
    this.#transform = transform
  }

  async process(events: readonly Event[]): Promise<Executed> {
    const outputs: Output[] = []
    const failures: Failure[] = []
    for (let at = 0; at < events.length; at += this.#transform.max_batch) {
      await this.#bisect(events.slice(at, at + this.#transform.max_batch), outputs, failures)
    }
    return { outputs, failures }
  }

  /** A batch that fails is halved until the one event that makes it fail stands alone. */
  async #bisect(events: readonly Event[], outputs: Output[], failures: Failure[]): Promise<void> {
    try {
      const said = emission(this.#transform, events)
      await this.#transform.apply(events, said.emit)
      outputs.push(...said.outputs)
    } catch (error) {
      const [only] = events
      if (events.length === 1 && only !== undefined) {
        failures.push({
          event: only,
          failure: error instanceof InvariantError ? 'poison' : 'bug',
          error: asError(error),
        })
        return
      }
      const middle = events.length >> 1
      await this.#bisect(events.slice(0, middle), outputs, failures)
      await this.#bisect(events.slice(middle), outputs, failures)
    }
  }

  takeChanges(): StateChange[] {
    return []
  }
  restore(key: string): void {
    throw new Error(
      `${this.#transform.name} is a transform and has no state, yet a state of key ${key} was found for it`,
    )
  }
  states(): [string, unknown][] {
    return []
  }
  waiting(): ReadonlyMap<string, unknown> {
    return new Map()
  }
  latestDeadline(): undefined {
    return undefined
  }
  unticked(): undefined {
    return undefined
  }
  become(processor: Processor): void {
    this.#transform = processor as Transform
  }
}

/**
 * The same text, that is no part of a longer one. V8 keeps the whole of what a text was cut from: a key that is
 * remembered for days would keep all headers of its record.
 */
const ownText = (text: string): string => Buffer.from(text).toString()

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

/** The topics a task reads: its processor's inputs, and the clock where it has deadlines. */
export function inputTopics(processor: Processor): string[] {
  const topics = processor.inputs.map((input) => input.type)
  if (processor.shape === 'effect' || (processor.shape === 'fold' && processor.expire !== undefined)) {
    topics.push(clockTicked.type)
  }
  return topics
}
