import type { Blobs } from '../infra/blobs/blobs.ts'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { putAll } from '../infra/blobs/put-all.ts'
import type { ComputePool } from '../infra/compute/compute.ts'
import type { NewRecord } from '../infra/log/port/log.ts'
import { asFold } from '../infra/runtime/execute/effect-fold.ts'
import type { Execution, Failure } from '../infra/runtime/execute/executed.ts'
import { execute } from '../infra/runtime/execute/execution.ts'
import type { StoredBroadcast } from '../infra/runtime/execute/held-broadcast.ts'
import type { Reach } from '../infra/runtime/execute/reach.ts'
import { broadcastKey, isStateKey } from '../infra/runtime/execute/state-keys.ts'
import { storedFold } from '../infra/runtime/execute/stored-fold.ts'
import { changelogTopic } from '../infra/runtime/internal/internal-topics.ts'
import { reachOf } from '../infra/runtime/state/rerun.ts'
import { changelogRecord, stateReading } from '../infra/runtime/state/state-store.ts'
import { type AnyFold, type AnyTransform, broadcastOf, type Processor } from '../processors/processor.ts'
import type { ClockDomain, DataOf, Event, EventType } from '../schemas/declare/event.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { sourceId } from '../schemas/wire/identity.ts'

/**
 * Runs a processor directly: events and ticks in, events out; no log, no clock, no files. States are frozen, so that a
 * fold that mutates its state fails its test.
 *
 * ```ts
 * const driver = testDriver(formGroups({ dialect: 'paper', scored: [completionsScored] }))
 * await driver.given(requested, sampled)
 * await driver.when(scored)
 * driver.said(groupFormed)   // events emitted in `when`
 * driver.restart()           // a new process: only what was committed is left
 * await driver.blobs.get(ref)  // what a transform put
 * ```
 */
export function testDriver(processor: Processor, reach: DriverReach = {}): TestDriver {
  return new TestDriver(processor, reach)
}

/** What a transform under test may reach. */
export interface DriverReach {
  /** Default: never aborts. */
  readonly signal?: AbortSignal
  /** Where kernels run; default: the pool that this process shares. */
  readonly compute?: Pick<ComputePool, 'run'>
}

export class TestDriver {
  #given: Processor
  #execution: Execution
  /** The last record of each key, as bytes: what a compacted changelog holds. */
  readonly #changelog = new Map<string, NewRecord>()
  #said: readonly Event[] = []
  #failures: readonly Failure[] = []
  /** What the processor has put, and what the test puts for it to read. In memory. */
  readonly blobs: Blobs = memoryBlobs()
  readonly #reach: Reach

  constructor(processor: Processor, { compute, signal }: DriverReach = {}) {
    this.#given = processor
    this.#reach = reachOf({ blobs: this.blobs, ...(compute && { compute }) }, signal)
    this.#execution = execute(frozen(processor), this.#reach)
  }

  /** Events that happened before. Their outputs are ignored, but they must not fail. */
  async given(...events: readonly Event[]): Promise<void> {
    await this.when(...events)
    const [failure] = this.#failures
    if (failure !== undefined) throw failure.error
  }

  /** Events that happen now: `said` and `failures` return the results of this call only. */
  async when(...events: readonly Event[]): Promise<void> {
    const { outputs, blobs, failures } = await this.#execution.process(events)
    await putAll(this.blobs, [...blobs, ...outputs.flatMap(({ encoded }) => encoded.blobs)])
    this.#said = outputs.map((output) => output.event)
    this.#failures = failures
    for (const { key, state } of this.#execution.takeChanges()) {
      this.#changelog.delete(key)
      if (state !== undefined) this.#changelog.set(key, changelogRecord(this.#given, key, state))
    }
  }

  /**
   * Ends the process and starts another. Everything given so far is committed; the states are restored from the bytes
   * of the changelog, by the code that restores a worker's.
   *
   * @param processor as the new process creates it: of modules that were loaded again, or with a newer state version
   * @throws Error when a stored state is not what this processor can read
   */
  restart(processor: Processor = this.#given): void {
    this.#given = processor
    this.#execution = execute(frozen(processor), this.#reach)
    const stored = storedFold(processor)
    if (stored === undefined) return
    const reading = stateReading(stored)
    const topic = changelogTopic(processor.name)
    for (const [offset, record] of [...this.#changelog.values()].entries()) {
      const { key, state } = reading({ ...record, topic, partition: 0, offset: BigInt(offset), appended_ms: 0 }, 1)
      this.#execution.restore(key, deepFreeze(state()))
    }
  }

  emitted(): readonly Event[]
  emitted<T extends EventType>(type: T): readonly Event<T>[]
  emitted(type?: EventType): readonly Event[] {
    return type === undefined ? this.#said : this.#said.filter((event) => event.type === type.type)
  }

  failures(): readonly Failure[] {
    return this.#failures
  }

  /** The state of one key, as a restart would restore it. */
  state(key: string): unknown {
    const found = this.#execution.states().find(([name]) => name === key)
    return found === undefined ? undefined : JSON.parse(JSON.stringify(found[1]))
  }

  /** The broadcast state, as a restart would restore it; undefined before its first event. */
  broadcast(): unknown {
    const name = broadcastOf(this.#given)?.name ?? ''
    return (this.state(broadcastKey(name)) as StoredBroadcast | undefined)?.state
  }

  /** Every key with its state as the fold returned it, sorted by key. The runtime's own keys are left out. */
  states(): readonly (readonly [key: string, state: unknown])[] {
    return this.#execution.states().filter(([key]) => isStateKey(key))
  }
}

/** The processor as it is run, with every state frozen that it returns. */
function frozen(processor: Processor): AnyFold | AnyTransform {
  if (processor.shape === 'transform') return { ...processor, ...frozenBroadcast(processor) }
  const fold = processor.shape === 'effect' ? asFold(processor) : processor
  const { expire } = fold
  return {
    ...fold,
    ...frozenBroadcast(fold),
    apply: (state, event, emit, broadcast) => deepFreeze(fold.apply(state, event, emit, broadcast)),
    ...(expire && { expire: (state, now, emit, broadcast) => deepFreeze(expire(state, now, emit, broadcast)) }),
  }
}

function frozenBroadcast({ broadcast }: AnyFold | AnyTransform): Pick<AnyFold, 'broadcast'> {
  if (broadcast === undefined) return {}
  const { initial } = broadcast
  return {
    broadcast: {
      ...broadcast,
      initial: deepFreeze(initial),
      apply: (state, event) => deepFreeze(broadcast.apply(state, event)),
    },
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}

/** An event as a source would emit it, for tests. Only type and data are required. */
export function example<T extends EventType>(
  type: T,
  data: DataOf<T>,
  options: { id?: string; time?: string; clock?: ClockDomain } = {},
): Event<T> {
  const first = (Array.isArray(data) ? data[0] : data) as Record<string, unknown>
  const time = options.time ?? '2026-01-01T00:00:00.000Z'
  return {
    id: options.id ?? sourceId([type.type, JSON.stringify(data), time]),
    source: '/tests',
    type: type.type,
    version: type.version,
    time,
    clock: options.clock ?? 'virtual',
    key: String(first[type.key]),
    causes: [],
    data,
  }
}

export function tick(clock: ClockDomain, time: string): Event<typeof clockTicked> {
  return example(clockTicked, { tick: `${clock}/${time}`, clock, time }, { time, clock })
}
