import { InvariantError, type Processor } from '../../../processors/processor.ts'
import type { ClockDomain, Event } from '../../../schemas/declare/event.ts'
import { PoisonError } from '../../../schemas/wire/codec.ts'
import type { Blob } from '../../../schemas/wire/offload.ts'
import { BlobCorruptError, BlobMissingError } from '../../blobs/blobs.ts'
import type { Output } from './emission.ts'

/** An input that its processor failed on. The state is as if it had never arrived. */
export interface Failure {
  readonly event: Event
  readonly failure: 'poison' | 'bug'
  readonly error: Error
  /** The key that failed to expire. `event` is then the tick, which was processed: other keys may have expired. */
  readonly expiring?: string
}

export interface Executed {
  readonly outputs: readonly Output[]
  /** What a transform put; durable before the transaction with `outputs` commits. The outputs' own blobs are not here. */
  readonly blobs: readonly Blob[]
  readonly failures: readonly Failure[]
  /** For a transform: the sizes of the batches that succeeded, in the order of the events. */
  readonly batches: readonly number[]
}

/** How events were first processed, so that a rerun processes them in the same way. */
export interface Recorded {
  /** Batch sizes of a transform; undefined when they were not journalled. */
  readonly batches: readonly number[] | undefined
  /** Keys that failed to expire at that time, by tick. */
  readonly unexpired: ReadonlyMap<Event, ReadonlySet<string>>
}

/** A changed key of a task's state; `undefined` deletes it. */
export interface StateChange {
  readonly key: string
  readonly state: unknown
}

/**
 * One processor on one partition, without log, clock or files: events in, outputs and state changes out. The worker,
 * `verify`, a rebuild and the test driver all run processors through this and nothing else.
 */
export interface Execution {
  process(events: readonly Event[], recorded?: Recorded): Promise<Executed>
  /** Keys changed since the last call. */
  takeChanges(): StateChange[]
  /** Restores a state from a snapshot or changelog. Does not count as a change. */
  restore(key: string, state: unknown): void
  /** Every key with its state, sorted by key. */
  states(): [string, unknown][]
  /** The states that wait for something other than an event, by key, in the order in which they began to wait. */
  waiting(): ReadonlyMap<string, unknown>
  /** The broadcast state; undefined for a processor without one. */
  broadcast(): unknown
  latestDeadline(clock: ClockDomain): string | undefined
  /** The latest event time seen on a clock, if no tick has reached it yet. */
  unticked(clock: ClockDomain): string | undefined
  /** What it waits for, in words: until it is there, only events of its broadcast state may be processed. */
  lacks(): string | undefined
  /** Continues with another variant or version of the same processor and keeps the state. */
  become(processor: Processor): void
}

/** The errors that an event causes, not the code. A blob that it names and the store lacks is like a missing column. */
const POISON = [InvariantError, PoisonError, BlobMissingError, BlobCorruptError]

export function faultOf(error: unknown): Pick<Failure, 'failure' | 'error'> {
  return {
    failure: POISON.some((kind) => error instanceof kind) ? 'poison' : 'bug',
    error: error instanceof Error ? error : new Error(String(error)),
  }
}
