import type { AnyTransform, Processor } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import type { Blob } from '../../../schemas/wire/offload.ts'
import { retryOf } from '../../retry.ts'
import type { Output } from './emission.ts'
import { type Executed, type Execution, type Failure, faultOf, type Recorded, type StateChange } from './executed.ts'
import { HeldBroadcast, type StoredBroadcast } from './held-broadcast.ts'
import type { Reach } from './reach.ts'
import { isBroadcastKey } from './state-keys.ts'
import { type Called, callTransform, tryBroadcast } from './transform-call.ts'

export class TransformExecution implements Execution {
  #transform: AnyTransform
  readonly #broadcast: HeldBroadcast
  readonly #reach: Reach

  constructor(transform: AnyTransform, reach: Reach) {
    this.#transform = transform
    this.#broadcast = new HeldBroadcast(transform)
    this.#reach = reach
  }

  async process(events: readonly Event[], recorded?: Recorded): Promise<Executed> {
    const executed = { outputs: [], blobs: [], failures: [], batches: [] }
    if (recorded?.batches !== undefined) {
      for (const batch of cut(events, recorded.batches, this.#transform.name)) {
        // A version of this processor without this broadcast state had its events in batches with others.
        for (const part of this.#batchesOf(batch, batch.length)) await this.#again(part, executed)
      }
      return executed
    }
    for (const batch of this.#batchesOf(events, this.#transform.max_batch)) await this.#bisect(batch, executed)
    return executed
  }

  /** An event of the broadcast state is a batch of its own: the events after it are processed with the new state. */
  *#batchesOf(events: readonly Event[], largest: number): Generator<readonly Event[]> {
    let from = 0
    for (const [at, event] of events.entries()) {
      const is_broadcast = this.#broadcast.takes(event)
      if (from < at && (is_broadcast || at - from === largest)) {
        yield events.slice(from, at)
        from = at
      }
      if (!is_broadcast) continue
      yield [event]
      from = at + 1
    }
    if (from < events.length) yield events.slice(from)
  }

  async #apply(events: readonly Event[], { outputs, blobs, batches }: Collected): Promise<void> {
    this.#reach.signal.throwIfAborted()
    const [first] = events
    const called =
      first !== undefined && this.#broadcast.takes(first)
        ? await this.#takeUp(first)
        : await callTransform(this.#transform, events, this.#reach, this.#broadcast.value)
    outputs.push(...called.outputs)
    blobs.push(...called.blobs)
    batches.push(events.length)
  }

  async #takeUp(event: Event): Promise<Called> {
    const [before, candidate] = [this.#broadcast.value, this.#broadcast.after(event)]
    const is_tried = this.#transform.takeUp !== undefined && candidate !== before
    const tried = is_tried
      ? await tryBroadcast(this.#transform, { event, before, candidate }, this.#reach)
      : { outputs: [], blobs: [], state: candidate }
    this.#broadcast.set(tried.state)
    return tried
  }

  /** Halves a failing batch until the event that makes it fail is alone. */
  async #bisect(events: readonly Event[], collected: Collected): Promise<void> {
    try {
      await this.#apply(events, collected)
    } catch (error) {
      if (this.#isNotTheirs(error)) throw error
      if (events.length === 1) {
        fail(events, error, collected)
        return
      }
      const middle = events.length >> 1
      await this.#bisect(events.slice(0, middle), collected)
      await this.#bisect(events.slice(middle), collected)
    }
  }

  /** Reruns a batch as it was recorded, without halving: outputs may depend on the whole batch. */
  async #again(events: readonly Event[], collected: Collected): Promise<void> {
    try {
      await this.#apply(events, collected)
    } catch (error) {
      if (this.#isNotTheirs(error)) throw error
      fail(events, error, collected)
    }
  }

  /** The environment of a model or kernel failed, or the work was aborted: all events are processed again. */
  #isNotTheirs(error: unknown): boolean {
    return this.#reach.signal.aborted || retryOf(error) === 'later'
  }

  takeChanges(): StateChange[] {
    return this.#broadcast.takeChanges()
  }
  restore(key: string, state: unknown): void {
    if (isBroadcastKey(key)) this.#broadcast.restore(key, state as StoredBroadcast | undefined)
    else throw new Error(`${this.#transform.name} is a transform, yet a state of key ${key} was found for it`)
  }
  lacks(): string | undefined {
    return this.#broadcast.lacks()
  }
  states(): [string, unknown][] {
    return this.#broadcast.states()
  }
  waiting(): ReadonlyMap<string, unknown> {
    return new Map()
  }
  broadcast(): unknown {
    return this.#broadcast.value
  }
  latestDeadline(): undefined {
    return undefined
  }
  unticked(): undefined {
    return undefined
  }
  become(processor: Processor): void {
    this.#transform = processor as AnyTransform
    this.#broadcast.become(processor)
  }
}

interface Collected {
  readonly outputs: Output[]
  readonly blobs: Blob[]
  readonly failures: Failure[]
  readonly batches: number[]
}

function fail(events: readonly Event[], error: unknown, { failures }: Collected): void {
  for (const event of events) failures.push({ event, ...faultOf(error) })
}

/** @throws Error when the journalled batch sizes do not add up to the number of events */
function* cut(events: readonly Event[], sizes: readonly number[], name: string): Generator<readonly Event[]> {
  const total = sizes.reduce((sum, size) => sum + size, 0)
  if (total !== events.length) {
    throw new Error(
      `the journal of ${name} lists batches of ${total} records where ${events.length} were taken; the journal is damaged, or the copy of the log is not whole`,
    )
  }
  let at = 0
  for (const size of sizes) {
    yield events.slice(at, at + size)
    at += size
  }
}
