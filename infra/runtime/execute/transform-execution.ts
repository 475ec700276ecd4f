import type { Processor, Transform } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { retryOf } from '../../retry.ts'
import { emission, type Output } from './emission.ts'
import { type Executed, type Execution, type Failure, faultOf, type Recorded } from './executed.ts'

export class TransformExecution implements Execution {
  #transform: Transform

  constructor(transform: Transform) {
    this.#transform = transform
  }

  async process(events: readonly Event[], recorded?: Recorded): Promise<Executed> {
    const executed = { outputs: [], failures: [], batches: [] }
    if (recorded?.batches !== undefined) {
      for (const batch of cut(events, recorded.batches, this.#transform.name)) await this.#again(batch, executed)
      return executed
    }
    for (let at = 0; at < events.length; at += this.#transform.max_batch) {
      await this.#bisect(events.slice(at, at + this.#transform.max_batch), executed)
    }
    return executed
  }

  async #apply(events: readonly Event[], { outputs, batches }: Collected): Promise<void> {
    const said = emission(this.#transform, events)
    await this.#transform.apply(events, said.emit)
    outputs.push(...said.outputs)
    batches.push(events.length)
  }

  /** Halves a failing batch until the event that makes it fail is alone. */
  async #bisect(events: readonly Event[], collected: Collected): Promise<void> {
    try {
      await this.#apply(events, collected)
    } catch (error) {
      // The environment of a model or kernel failed, not these events: all of them are processed again.
      if (retryOf(error) === 'later') throw error
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
      if (retryOf(error) === 'later') throw error
      fail(events, error, collected)
    }
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
