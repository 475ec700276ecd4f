import type { DataOf, Event, EventType } from '../schemas/declare/event.ts'
import type { EncodedEvent } from '../schemas/wire/codec.ts'

/**
 * The source port. A source is how events from outside enter the log: generated scenes, a file, a clock, an endpoint
 * that other programs hand events to. It emits events in steps, and `runSource` appends them. A step is what the source
 * counts: a scene with its request, a line of a file, a tick, an event handed in.
 *
 * What a source promises, and what `conformance/` tests for every source of the topology:
 * - **Idempotent by `ce_id`.** Asked for the same step again after a failure, it returns the same events with the same
 *   ids. The ids of a `repeatable` source follow from its name and the step, also in another process. An event of a
 *   `live` source exists once: its sender keeps its id, and hands it in again if no commit was confirmed.
 * - **It can be stopped while it waits.** A `take` that waits for events ends when its signal is aborted. Its result is
 *   bounded: at most as many steps as requested, and a bounded number of bytes.
 * - **It is fenced by its name.** The name identifies the work, parameters included. Two processes that could do the
 *   same work twice have the same name.
 *
 * What `runSource` adds, for every source alike:
 * - **One transaction per take.** Its events and the step after them are committed together, so its progress is in the
 *   log: after `kill -9` the next process resumes with the first step that is missing. A `repeatable` source appends
 *   no event twice and leaves no gap. Of a `live` one, every confirmed event is in the log once.
 * - **One process per name.** Of two that run sources of one name, one ends with a `RivalError` that names the other.
 * - **Paced.** A `Pace` permits steps, by time or by demand; none is taken that is not permitted.
 * - **Stoppable at any moment.** After an abort nothing is taken. A commit that has begun is finished; what was taken
 *   but not committed is dropped, and not lost: a repeatable source emits it again, a live one refuses it.
 * - **Errors name the place**: source, step, and what to do.
 */
export interface Source {
  /** Identifies the work, parameters included: a source with the same name resumes it. */
  readonly name: string
  /** Event types that it may give. Its position is stored under the first of them, so that one stays first. */
  readonly types: readonly EventType[]
  /**
   * `repeatable`: a step gives the same events whenever and wherever it is taken. `live`: events exist once, and steps
   * only count them.
   */
  readonly kind: 'repeatable' | 'live'
  /** How many steps there are; `Infinity` where nothing but a stop ends it. */
  readonly steps: number
  /**
   * The events of steps `from` … `to` − 1. Waits until there are some. After a failure it is called again with the same
   * `from`, and gives the same events again, or at least begins with them.
   *
   * @returns undefined when there are no more steps, and when `signal` is aborted
   * @throws Error that names what is wrong with its input. With `retry: 'later'`, the same call may succeed.
   */
  take(from: number, how: Taking): Promise<Taken | undefined>
  /** Its run has ended, with an error or not: a live source refuses what was not committed. */
  close?(error: Error | undefined): void
}

export interface Taking {
  /** At most so many steps; at least 1. */
  readonly most: number
  readonly signal: AbortSignal
}

export interface Taken {
  /** In the order in which they are appended. All blobs that they refer to are stored. */
  readonly emitted: readonly Emitted[]
  /** The step after them: between `from` + 1 and `from` + `most`. */
  readonly to: number
  /** Called once they are committed. */
  committed?(): void
}

/** An event to append, with its declaration. */
export interface Emitted {
  readonly type: EventType
  readonly event: Event
  /** Where the source has encoded it already. */
  readonly encoded?: EncodedEvent
}

/** What a source declares about an event. `id`: the same for the same step, e.g. by `sourceId`. */
type SourceEnvelope = Pick<Event, 'id' | 'source' | 'time' | 'clock' | 'correlation' | 'seed'> & {
  readonly causes?: readonly string[]
}

/** An event of a source, from its data and the part of the envelope that its declaration does not give. */
export function emitted<T extends EventType>(
  type: T,
  data: DataOf<T>,
  { causes = [], ...envelope }: SourceEnvelope,
): Emitted {
  const first = (Array.isArray(data) ? data[0] : data) as Record<string, unknown>
  const event = { ...envelope, causes, type: type.type, version: type.version, key: String(first[type.key]), data }
  return { type, event: event as unknown as Event }
}

/** A repeatable source, defined by the events of each step. */
export interface Steps {
  readonly name: string
  readonly types: readonly EventType[]
  /** How many; `Infinity` for a source without end. */
  readonly steps: number
  /** Number of steps, from this one on, in one transaction; default 100. */
  stepsAt?(from: number): number
  /**
   * The events of steps `from` … `to` − 1, always the same. Must store all blobs that the events refer to before it
   * resolves. A long one looks at `signal`, and then rejects with its reason.
   */
  produce(from: number, to: number, signal: AbortSignal): Promise<readonly Emitted[]>
}

const STEPS_AT_A_TIME = 100

export function inSteps(steps: Steps): Source & Steps {
  return {
    ...steps,
    kind: 'repeatable',
    async take(from, { most, signal }) {
      if (from >= steps.steps || signal.aborted) return undefined
      const to = Math.min(steps.steps, from + Math.min(most, steps.stepsAt?.(from) ?? STEPS_AT_A_TIME))
      return { emitted: await steps.produce(from, to, signal), to }
    },
  }
}
