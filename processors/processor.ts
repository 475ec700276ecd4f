import type { z } from 'zod'
import type { ClockDomain, DataOf, Event, EventType } from '../schemas/event.ts'

/**
 * What a processor is. Three shapes, nothing else: a fold, a transform, an effect (with the first policy that is
 * reached over a network). A processor declares the events that it reads and writes, and knows nothing of topics,
 * partitions, transports, clocks or files; it can be tested with an array.
 */

interface Declared {
  /** Consumer group, `ce_source` of its outputs, and the name on the command line. kebab-case verb-noun. */
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
  options?: { readonly causes?: readonly Cause[]; readonly discriminator?: string; readonly model_hash?: string },
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
}

/** Stateless and batched: models and kernels. Emits must name their causes when a call takes more than one event. */
export interface Transform extends Declared {
  readonly shape: 'transform'
  readonly max_batch: number
  apply(events: readonly Event[], emit: Emit): Promise<void> | void
}

// biome-ignore lint/suspicious/noExplicitAny: a list of processors holds folds of every state type.
export type Processor = Fold<any> | Transform

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
