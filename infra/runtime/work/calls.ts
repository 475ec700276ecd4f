import {
  type Answer,
  type AnyEffect,
  broadcastOf,
  type CallContext,
  CallFailedError,
  inputTopics,
} from '../../../processors/processor.ts'
import { retryOf } from '../../retry.ts'
import { answered, type Pending } from '../execute/effect-fold.ts'
import { Backoff, type Waits } from './backoff.ts'
import type { Beside } from './beside.ts'
import type { Task } from './task.ts'

export interface CallLimits {
  /** Calls that run concurrently. */
  readonly concurrency: number
  /** For one whole call. */
  readonly timeout_ms: number
  /** Input is paused while this many keys wait. */
  readonly max_waiting: number
  readonly waits: Waits
}

export interface CallsOptions {
  readonly effect: AnyEffect
  readonly limits: CallLimits
  readonly context: Omit<CallContext, 'signal' | 'learned' | 'broadcast'>
  /** Uniform on [0, 1): jitter. */
  readonly random: () => number
  readonly onFailure: (error: Error, wait_ms: number) => void
  readonly onNotice: (message: string) => void
}

/** One key that waits for results, and its calls. */
interface Waiting {
  readonly task: Task
  readonly key: string
  readonly backoff: Backoff
  readonly flights: Set<AbortController>
  /** Indices that are requested, or have arrived and are not committed yet. */
  readonly taken: Set<number>
  readonly collected: number[]
  /** How many answers of each index could not be recorded. */
  readonly unusable: Map<number, number>
  pending: Pending
  gone: boolean
}

interface Arrived {
  readonly waiting: Waiting
  readonly answers: readonly Answer[]
  /** Indices that are no longer requested. */
  readonly given_up?: readonly number[]
  readonly recorded_at: string
}

/** An index is given up after this many answers that cannot be recorded: further calls would cost and not help. */
const MOST_UNUSABLE = 3

/**
 * The calls of an effect: at most `concurrency` at once, in request order. A failed call is retried after a backoff.
 * After a failure of the endpoint as a whole, all calls wait, and then a single one probes it.
 */
export class Calls implements Beside {
  readonly #options: CallsOptions
  readonly #learned = new Set<string>()
  readonly #endpoint: Backoff
  readonly #waiting = new Map<string, Waiting>()
  #arrived: Arrived[] = []
  #running = 0
  /** The current limit of concurrent calls: one after a failure of the endpoint, doubled with each success. */
  #limit: number
  #timer: NodeJS.Timeout | undefined
  #foreign = 0
  #unready = 0

  constructor(options: CallsOptions) {
    this.#options = options
    this.#limit = options.limits.concurrency
    this.#endpoint = new Backoff(options.limits.waits, options.random)
  }

  get busy(): boolean {
    if (this.#running > 0 || this.#arrived.length > 0) return true
    for (const waiting of this.#waiting.values()) if (this.#callable(waiting)) return true
    return false
  }

  /** Those of the broadcast state are read on: calls may wait for it. */
  get topics(): readonly string[] {
    const { effect } = this.#options
    const broadcast = new Set(broadcastOf(effect)?.inputs.map(({ type }) => type))
    return inputTopics(effect).filter((topic) => !broadcast.has(topic))
  }

  full(tasks: ReadonlyMap<number, Task>): boolean {
    let waiting = 0
    for (const { execution } of tasks.values()) {
      // Expired requests are cleared by a tick. Ticks are input, so pausing for these would deadlock.
      for (const state of execution.waiting().values()) if (this.#askable(state as Pending)) waiting++
    }
    return waiting >= this.#options.limits.max_waiting
  }

  async collect(tasks: ReadonlyMap<number, Task>): Promise<void> {
    const arrived = this.#arrived
    this.#arrived = []
    for (const one of arrived) {
      const { task } = one.waiting
      if (!one.waiting.gone && tasks.get(task.partition) === task) await this.#record(one)
    }
  }

  /** Records the answers. If that fails, halves them until only the unusable ones are left out. */
  async #record({ waiting, answers, given_up = [], recorded_at }: Arrived): Promise<void> {
    const { task, key, pending } = waiting
    const error = await task.record(answered(key, pending, { answers, given_up, recorded_at }))
    if (error === undefined) {
      waiting.collected.push(...answers.map(({ index }) => index), ...given_up)
    } else if (answers.length > 1) {
      const middle = answers.length >> 1
      for (const half of [answers.slice(0, middle), answers.slice(middle)]) {
        await this.#record({ waiting, answers: half, recorded_at })
      }
    } else {
      const failure = new CallFailedError(`the answer cannot be recorded: ${error.message}`, {
        scope: 'call',
        unusable: true,
      })
      this.#failed(waiting, failure, answers, this.#options.context.now_ms())
    }
  }

  settle(tasks: ReadonlyMap<number, Task>): void {
    const seen = new Set<string>()
    for (const task of tasks.values()) {
      for (const [key, state] of task.execution.waiting()) {
        seen.add(key)
        const pending = state as Pending
        const known = this.#waiting.get(key)
        if (known?.task === task) {
          known.pending = pending
          for (const index of known.collected.splice(0)) known.taken.delete(index)
        } else {
          if (known !== undefined) this.#giveUp(known)
          this.#waiting.set(key, this.#begin(task, key, pending))
        }
      }
    }
    for (const [key, waiting] of this.#waiting) if (!seen.has(key)) this.#giveUp(waiting)
    this.#tellForeign()
    this.#tellUnready()
    this.#pump()
  }

  #begin(task: Task, key: string, pending: Pending): Waiting {
    const backoff = new Backoff(this.#options.limits.waits, this.#options.random)
    return {
      task,
      key,
      pending,
      backoff,
      flights: new Set(),
      taken: new Set(),
      collected: [],
      unusable: new Map(),
      gone: false,
    }
  }

  #giveUp(waiting: Waiting): void {
    waiting.gone = true
    this.#waiting.delete(waiting.key)
    for (const flight of waiting.flights) flight.abort(new Error('the result of this call is no longer needed'))
  }

  #askable(pending: Pending): boolean {
    if (this.#isForeign(pending)) return false
    const { clock, time } = pending.deadline
    return clock !== 'wall' || Date.parse(time) > this.#options.context.now_ms()
  }

  #callable({ task, pending }: Waiting): boolean {
    return this.#askable(pending) && this.#waitsFor(task) === undefined
  }

  #waitsFor({ execution }: Task): string | undefined {
    return execution.lacks()
  }

  #tellUnready(): void {
    const unready = [...this.#waiting.values()].filter(
      ({ task, pending }) => this.#askable(pending) && this.#waitsFor(task) !== undefined,
    )
    const [first] = unready
    // Once for as long as some wait.
    if (first !== undefined && this.#unready === 0) {
      this.#options.onNotice(`${unready.length} wait for ${this.#waitsFor(first.task)}`)
    }
    this.#unready = unready.length
  }

  /** Partly answered under another variant: completing it here would mix two policies in one attempt. */
  #isForeign({ variant, missing, wanted }: Pending): boolean {
    return missing.length < wanted && variant.join('\n') !== this.#options.effect.variant.join('\n')
  }

  #tellForeign(): void {
    const foreign = [...this.#waiting.values()].filter(({ pending }) => this.#isForeign(pending))
    if (foreign.length > this.#foreign) {
      const variants = [...new Set(foreign.map(({ pending }) => pending.variant.join(' ')))]
      this.#options.onNotice(
        `${foreign.length} begun with ${variants.join(', ')} wait for it; run with it to complete them, or let them expire`,
      )
    }
    this.#foreign = foreign.length
  }

  /** Starts the calls that may run now, and sets a timer for those that may run later. */
  #pump(): void {
    clearTimeout(this.#timer)
    const now_ms = this.#options.context.now_ms()
    let next_ms = Number.POSITIVE_INFINITY
    if (this.#endpoint.until_ms > now_ms) next_ms = this.#waiting.size > 0 ? this.#endpoint.until_ms : next_ms
    else {
      for (const waiting of this.#waiting.values()) {
        if (this.#running >= this.#limit) break
        if (!this.#callable(waiting)) continue
        if (waiting.backoff.until_ms > now_ms) next_ms = Math.min(next_ms, waiting.backoff.until_ms)
        else this.#ask(waiting)
      }
    }
    if (Number.isFinite(next_ms)) this.#timer = setTimeout(() => this.#pump(), Math.max(1, next_ms - now_ms))
  }

  /** Requests the missing indices of a key, in as many calls as are needed and allowed. */
  #ask(waiting: Waiting): void {
    const open = waiting.pending.missing.filter((index) => !waiting.taken.has(index))
    while (open.length > 0 && this.#running < this.#limit) {
      const indices = open.splice(0, Math.max(1, this.#options.effect.per_call(this.#learned)))
      for (const index of indices) waiting.taken.add(index)
      this.#running++
      void this.#call(waiting, indices).finally(() => {
        this.#running--
        this.#pump()
      })
    }
  }

  async #call(waiting: Waiting, indices: readonly number[]): Promise<void> {
    const { effect, limits, context } = this.#options
    const { attempt_id, request } = waiting.pending
    const flight = new AbortController()
    const timeout = () =>
      flight.abort(new CallFailedError(`no answer within ${limits.timeout_ms / 1_000} s`, { scope: 'call' }))
    const timer = setTimeout(timeout, limits.timeout_ms)
    const started_ms = context.now_ms()
    waiting.flights.add(flight)
    try {
      const call = { attempt_id, request, indices }
      const asked = effect.call(call, {
        ...{ ...context, signal: flight.signal, learned: this.#learned },
        broadcast: waiting.task.execution.broadcast(),
      })
      const answers = await Promise.race([asked, rejectedBy(flight.signal)])
      if (waiting.gone) return
      this.#succeeded(waiting, indices, answers, started_ms)
    } catch (error) {
      if (!waiting.gone)
        this.#failed(
          waiting,
          error as Error,
          indices.map((index) => ({ index })),
          started_ms,
        )
    } finally {
      clearTimeout(timer)
      waiting.flights.delete(flight)
    }
  }

  #succeeded(waiting: Waiting, indices: readonly number[], came: readonly Answer[], started_ms: number): void {
    const answers = came.filter(({ index }) => indices.includes(index))
    if (answers.length === 0) throw new CallFailedError('the answer holds no result', { scope: 'call' })
    for (const index of indices) if (!answers.some((answer) => answer.index === index)) waiting.taken.delete(index)
    waiting.backoff.succeeded(started_ms)
    if (this.#endpoint.succeeded(started_ms)) {
      this.#limit = Math.min(this.#options.limits.concurrency, this.#limit * 2)
    }
    const recorded_at = new Date(this.#options.context.now_ms()).toISOString()
    this.#arrived.push({ waiting, answers, recorded_at })
  }

  #failed(waiting: Waiting, error: Error, asked: readonly { index: number }[], started_ms: number): void {
    const failure =
      error instanceof CallFailedError
        ? error
        : new CallFailedError(`${error.name}: ${error.message}`, {
            scope: 'call',
            permanent: retryOf(error) !== 'later',
          })
    const given_up = failure.unusable ? this.#giveUpUnusable(waiting, failure, asked) : []
    for (const { index } of asked) if (!given_up.includes(index)) waiting.taken.delete(index)
    const backoff = failure.scope === 'endpoint' ? this.#endpoint : waiting.backoff
    if (failure.scope === 'endpoint') this.#limit = 1
    const wait_ms = backoff.failed(failure, started_ms, this.#options.context.now_ms())
    this.#options.onFailure(failure, wait_ms)
  }

  /** Counts answers that cannot be recorded. An index with too many is given up; that is committed like a result. */
  #giveUpUnusable(waiting: Waiting, failure: CallFailedError, asked: readonly { index: number }[]): number[] {
    for (const { index } of asked) waiting.unusable.set(index, (waiting.unusable.get(index) ?? 0) + 1)
    const given_up = asked.map(({ index }) => index).filter((index) => waiting.unusable.get(index) === MOST_UNUSABLE)
    if (given_up.length === 0) return given_up
    const recorded_at = new Date(this.#options.context.now_ms()).toISOString()
    this.#arrived.push({ waiting, answers: [], given_up, recorded_at })
    this.#options.onNotice(
      `${waiting.key}: gave up ${given_up.join(', ')} after ${MOST_UNUSABLE} answers that cannot be recorded, and it will expire without: ${failure.message}`,
    )
    return given_up
  }
}

function rejectedBy(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
