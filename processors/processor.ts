import type { z } from 'zod'
import type { ClockDomain, DataOf, Event, EventType } from '../schemas/event.ts'
import type { BlobRef } from '../schemas/logical-types.ts'

/**
 * What a processor is. Three shapes, nothing else: a fold, a transform, an effect. A processor declares the events that
 * it reads and writes, and knows nothing of topics, partitions, transports, clocks or files; it can be tested with an
 * array.
 */

interface Declared {
  /** Consumer group, part of `ce_source` of its outputs, and the name on the command line. kebab-case verb-noun. */
  readonly name: string
  /** Raised when the logic changes so that the same inputs may give other outputs. */
  readonly version: number
  readonly about: string
  readonly inputs: readonly EventType[]
  readonly outputs: readonly EventType[]
  /**
   * What distinguishes this instance from another of the same name (reward, dialect, policy, model hash …): part of
   * the identity of every output, so that two variants' outputs lie side by side.
   */
  readonly variant: readonly string[]
  /** Facts (a call to the outside) are kept by a rebuild; derived outputs are computed again and compared. */
  readonly produces: 'derived' | 'facts'
}

/**
 * Says an event. Its identity follows from processor, variant, type, causes and how many of that type this call
 * has said with the same causes; its time is the latest of its causes.
 *
 * `causes`: the events that this one follows from; the input event when left out. A tick is never a cause, so an
 * emission from `expire` must name them. `discriminator` distinguishes what causes alone do not (a deadline).
 */
export type Emit = <T extends EventType>(
  type: T,
  data: DataOf<T>,
  options?: {
    readonly causes?: readonly Cause[]
    readonly discriminator?: string
    readonly model_hash?: string
    /** Of a fact: when it was recorded, by the wall clock at the edge. Left out: the latest of the causes. */
    readonly recorded_at?: string
  },
) => void

/** What identity, time and correlation of a derived event need to know of an event; small enough to keep in state. */
export interface Cause {
  id: string
  time: string
  clock: ClockDomain
  correlation?: string
}

export function causeOf(event: Event): Cause {
  const { id, time, clock, correlation } = event
  return correlation === undefined ? { id, time, clock } : { id, time, clock, correlation }
}

export interface Deadline {
  readonly clock: ClockDomain
  /** RFC 3339; due on the first tick of `clock` at or after it. */
  readonly time: string
  /** Only memory is given up then, nothing is said: `--expire-pending` does not wait for it. */
  readonly housekeeping?: boolean | undefined
}

/**
 * Keyed state and one event at a time, synchronous and pure: grouping, joining, counting, expiring. Input events
 * that share a key meet in one state. State must survive `JSON.parse(JSON.stringify(state))` unchanged. A producer
 * outside may deliver an event twice: a fold that cares knows it by its id.
 */
export interface Fold<S = unknown> extends Declared {
  readonly shape: 'fold'
  readonly state: {
    readonly version: number
    /** Checks a state that comes back from a snapshot or changelog. */
    readonly schema: z.ZodType<S>
    /** From each earlier version to the next; a state older than the oldest entry is rebuilt from the log. */
    readonly upcast?: { readonly [fromVersion: number]: (state: unknown) => unknown }
  }
  /**
   * `undefined` in: the key is new. `undefined` out: forget the key. The state given must not be mutated: when this
   * throws, or what it emitted is invalid, the key keeps the state it had.
   * @throws InvariantError when the event breaks an invariant: it becomes a dead letter. Anything else is a bug.
   */
  apply(state: S | undefined, event: Event, emit: Emit): S | undefined
  /** When `expire` must be called for this state, if ever. A pure function of the state. */
  deadline?(state: S): Deadline | undefined
  /** A tick has reached the deadline. */
  expire?(state: S, now: Deadline, emit: Emit): S | undefined
  /** Whether this state waits for something that is no event; the runtime keeps a list of those that do. */
  waits?(state: S): boolean
}

/** Stateless and batched: models and kernels. Emits must name their causes when a call takes more than one event. */
export interface Transform extends Declared {
  readonly shape: 'transform'
  readonly max_batch: number
  apply(events: readonly Event[], emit: Emit): Promise<void> | void
}

/** What an event asks of the outside: `wanted` results, numbered from 0. Kept in state, and so survives JSON. */
export interface Plan<Q> {
  /** Names this one try; the same after every restart. */
  readonly attempt_id: string
  readonly wanted: number
  /** Whatever `call` must know. */
  readonly request: Q
  /** Nothing is asked for any more once this has passed. */
  readonly deadline: Deadline
}

/** One call: some of the results that a plan still lacks. */
export interface Call<Q> {
  readonly attempt_id: string
  readonly request: Q
  readonly indices: readonly number[]
}

/** One result, ready to be a row of the output. */
export interface Answer {
  readonly index: number
  readonly row: Readonly<Record<string, unknown>>
}

/** What a call may use of the world. */
export interface CallContext {
  /** Aborts when time is up, or nobody wants the answer any more. */
  readonly signal: AbortSignal
  readonly http: HttpClient
  readonly blob: (ref: BlobRef) => Promise<Uint8Array>
  readonly now_ms: () => number
  /** What calls have found out about the other side since the start of this process; no part of any state. */
  readonly learned: Set<string>
}

export interface HttpClient {
  /**
   * Sends JSON and resolves when the whole answer is there, whatever its status.
   * @throws CallFailedError of scope `endpoint` when no answer comes, of scope `call` when it breaks off.
   */
  post(url: string, body: unknown, signal: AbortSignal): Promise<HttpAnswer>
}

export interface HttpAnswer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly text: string
}

/** A call that brought no result. It is made again: nothing that was asked for is dropped before its deadline. */
export class CallFailedError extends Error {
  override readonly name = 'CallFailedError'
  /** `endpoint`: every other call would fail as well, all of them wait. `call`: this one alone. */
  readonly scope: 'call' | 'endpoint'
  /** Waiting alone will not mend it, a person must: tried again slowly. */
  readonly permanent: boolean
  /** The other side said how long to wait. */
  readonly retry_after_ms: number | undefined

  constructor(
    message: string,
    how: { readonly scope: 'call' | 'endpoint'; readonly permanent?: boolean; readonly retry_after_ms?: number },
  ) {
    super(message)
    this.scope = how.scope
    this.permanent = how.permanent ?? false
    this.retry_after_ms = how.retry_after_ms
  }
}

/**
 * A call to the outside: requested → pending → recorded. What is asked for is in the state before the first call; calls
 * run off the poll loop and outside transactions; each result is committed as it arrives, once, and a restart asks only
 * for what is missing. `plan` and `per_call` are pure; `call` alone touches the world, through its context.
 */
export interface Effect<Q = unknown> extends Declared {
  readonly shape: 'effect'
  readonly produces: 'facts'
  /** The results of one call become one event of this type, a row for each. */
  readonly outputs: readonly [EventType]
  /** Of `Plan.request`, which is kept until the last result is recorded. */
  readonly state: {
    readonly version: number
    readonly schema: z.ZodType<Q>
  }
  /** What an input event asks for; `undefined`: nothing. The first event of a key counts. */
  plan(event: Event): Plan<Q> | undefined
  /** How many results one call may ask for, as far as is known. */
  per_call(learned: ReadonlySet<string>): number
  /**
   * Asks for some results and returns those that came, at least one.
   * @throws CallFailedError; anything else is treated as one that only a person can mend.
   */
  call(call: Call<Q>, context: CallContext): Promise<readonly Answer[]>
}

// biome-ignore lint/suspicious/noExplicitAny: a list of processors holds folds and effects of every state type.
export type Processor = Fold<any> | Transform | Effect<any>

/**
 * One line of the topology: a processor by name, and how to make it in any variant that a journal may name, so that
 * what an earlier run did with other options can be rebuilt.
 */
export interface Stage {
  readonly name: string
  /** The variant that runs now. */
  readonly variant: readonly string[]
  readonly create: (variant: readonly string[]) => Processor
}

/** Narrows an event to the declaration that it was read by. */
export function isA<T extends EventType>(event: Event, type: T): event is Event<T> {
  return event.type === type.type
}

/** The event itself is wrong (undecodable, unknown, an invariant broken): no retry and no fix of ours will take it. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}
