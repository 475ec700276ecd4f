import type { Processor, Transform } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import type { Blob } from '../../../schemas/wire/offload.ts'
import { retryOf } from '../../retry.ts'
import type { Output } from './emission.ts'
import { type Executed, type Execution, type Failure, faultOf, type Recorded } from './executed.ts'
import type { Reach } from './reach.ts'
import { callTransform } from './transform-call.ts'

export class TransformExecution implements Execution {
  #transform: Transform
  readonly #reach: Reach

  constructor(transform: Transform, reach: Reach) {
    this.#transform = transform
    this.#reach = reach
  }

  async process(events: readonly Event[], recorded?: Recorded): Promise<Executed> {
    const executed = { outputs: [], blobs: [], failures: [], batches: [] }
    if (recorded?.batches !== undefined) {
      for (const batch of cut(events, recorded.batches, this.#transform.name)) await this.#again(batch, executed)
      return executed
    }
    for (let at = 0; at < events.length; at += this.#transform.max_batch) {
      await this.#bisect(events.slice(at, at + this.#transform.max_batch), executed)
    }
    return executed
  }

  async #apply(events: readonly Event[], { outputs, blobs, batches }: Collected): Promise<void> {
    this.#reach.signal.throwIfAborted()
    const called = await callTransform(this.#transform, events, this.#reach)
    outputs.push(...called.outputs)
    blobs.push(...called.blobs)
    batches.push(events.length)
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

  takeChanges(): [] {
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
