import type { Blobs } from '../infra/blobs/blobs.ts'
import { putAll } from '../infra/blobs/put-all.ts'
import { type Log, type Position, TopicReplacedError } from '../infra/log/port/log.ts'
import { longerPause, type Retry, retryOf } from '../infra/retry.ts'
import { ResumingProducer } from '../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../infra/sleep.ts'
import { type EncodedEvent, encodeEvent } from '../schemas/wire/codec.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { homesOf } from '../schemas/wire/routing.ts'
import { type Pace, UNPACED } from './pace.ts'
import type { Emitted, Source, Taken } from './source.ts'

/** Where a test may kill the process or stop the source. */
export type AppendStage = 'taken' | 'appending' | 'committed'

export interface RunSourceOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly partitions: Partitions
  readonly signal?: AbortSignal
  /** Default: as fast as the log takes it. */
  readonly pace?: Pace
  /**
   * Called when a dependency fails (the log, the blobs, the disk) and when it works again. The source then retries
   * until it is stopped. Left out: such a failure ends the run.
   */
  readonly report?: (message: string) => void
  readonly onProgress?: (done: number, steps: number) => void
  readonly observe?: (stage: AppendStage) => unknown
}

export interface SourceResult {
  /** Steps done now. */
  readonly done: number
  /** Steps done before. */
  readonly already: number
  /** Events appended now; one for every partition counts once. */
  readonly events: number
}

/** What a source could not give, or gave wrongly. */
export class SourceFailedError extends Error {
  override readonly name = 'SourceFailedError'
  readonly retry: Retry

  constructor(where: string, cause: unknown) {
    super(`${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.retry = retryOf(cause) ?? 'never'
  }
}

/**
 * Appends the remaining events of a source, until it has no more or is stopped. The promises are those of the port.
 *
 * @throws SourceFailedError naming the source and the step; what was committed before stays.
 * @throws RivalError when another process runs a source of this name.
 * @throws TopicReplacedError when events of earlier steps are lost because a topic was deleted and created again.
 */
export async function runSource(source: Source, options: RunSourceOptions): Promise<SourceResult> {
  const run = new SourceRun(source, options)
  try {
    const result = await run.run()
    source.close?.(undefined)
    return result
  } catch (error) {
    source.close?.(error instanceof Error ? error : new Error(String(error)))
    throw error
  }
}

/** Thrown inside to leave a run that was stopped. */
const STOPPED = Symbol('stopped')

interface Ready extends Taken {
  readonly encoded: readonly (Emitted & { readonly encoded: EncodedEvent })[]
}

class SourceRun {
  readonly #source: Source
  readonly #options: RunSourceOptions
  readonly #group: string
  readonly #signal: AbortSignal

  constructor(source: Source, options: RunSourceOptions) {
    this.#source = source
    this.#options = options
    this.#group = `source/${source.name}`
    this.#signal = options.signal ?? new AbortController().signal
  }

  async run(): Promise<SourceResult> {
    const result = { done: 0, already: 0, events: 0 }
    let producer: ResumingProducer | undefined
    try {
      producer = await this.#patiently(() => this.#open())
      const position = lastOf(producer.positions)
      const ids = await this.#patiently(() => this.#topicIds())
      result.already = Number(position?.next ?? 0n)
      if (position !== undefined && result.already > 0) await this.#expectSameTopics(position, ids)
      await this.#appendAll(producer, ids, result)
    } catch (error) {
      if (error !== STOPPED) throw error
    } finally {
      await producer?.close()
    }
    return result
  }

  #open(): Promise<ResumingProducer> {
    return ResumingProducer.open(this.#options.log, { transactional_id: this.#group, group: this.#group })
  }

  async #appendAll(
    producer: ResumingProducer,
    ids: readonly string[],
    result: { done: number; already: number; events: number },
  ): Promise<void> {
    const { blobs, pace = UNPACED, onProgress, observe } = this.#options
    const seen = { topic_id: ids.join() }
    const [first] = this.#source.types
    for (let next = result.already; ; ) {
      const most = await this.#patiently(() => pace.permit(this.#signal))
      const ready = await this.#patiently(() => this.#take(next, most))
      if (ready === undefined) return
      await observe?.('taken')
      const positions = first === undefined ? [] : [{ topic: first.type, partition: 0, next: BigInt(ready.to), seen }]
      await this.#patiently(async () => {
        await this.#unlessStopped(
          putAll(
            blobs,
            ready.encoded.flatMap(({ encoded }) => encoded.blobs),
            this.#signal,
          ),
        )
        await observe?.('appending')
        if (this.#signal.aborted) throw STOPPED
        await producer.commit((transaction) => {
          for (const { type, event, encoded } of ready.encoded) {
            const { key, headers, value } = encoded
            for (const partition of homesOf(type, event.key, this.#options.partitions)) {
              transaction.append(type.type, partition, { key, headers, value })
            }
          }
        }, positions)
      })
      ready.committed?.()
      pace.taken(ready.to - next, ready.emitted)
      result.events += ready.emitted.length
      result.done += ready.to - next
      next = ready.to
      await observe?.('committed')
      onProgress?.(next, this.#source.steps)
    }
  }

  /** @throws SourceFailedError; STOPPED when the source was stopped meanwhile. */
  async #take(from: number, most: number): Promise<Ready | undefined> {
    if (this.#signal.aborted) throw STOPPED
    const steps = Number.isFinite(this.#source.steps) ? ` of ${this.#source.steps}` : ''
    const where = `${this.#group}, step ${from}${steps}`
    try {
      const taken = await this.#unlessStopped(this.#source.take(from, { most, signal: this.#signal }))
      if (this.#signal.aborted) throw STOPPED
      if (taken === undefined) return undefined
      if (!(taken.to > from && taken.to <= from + most)) {
        throw new Error(`expected steps ${from} to at most ${from + most - 1}, got those before ${taken.to}`)
      }
      const encoded = taken.emitted.map((one) => ({ ...one, encoded: this.#encode(one) }))
      return { emitted: taken.emitted, to: taken.to, committed: () => taken.committed?.(), encoded }
    } catch (error) {
      if (error === STOPPED) throw error
      throw new SourceFailedError(where, error)
    }
  }

  #encode({ type, event, encoded }: Emitted): EncodedEvent {
    const { types } = this.#source
    if (!types.some((declared) => declared.type === type.type)) {
      throw new Error(`expected events of ${types.map((declared) => declared.type).join(', ')}, got ${type.type}`)
    }
    return encoded ?? encodeEvent(type, event)
  }

  async #unlessStopped<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (this.#signal.aborted && error === this.#signal.reason) throw STOPPED
      throw error
    }
  }

  /** Where failures are reported, repeats what only the surroundings have made fail, until stopped. */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    const { report } = this.#options
    for (let pause_ms = 0; ; ) {
      try {
        const result = await work()
        if (pause_ms > 0) report?.(`${this.#group} goes on`)
        return result
      } catch (error) {
        if (report === undefined || retryOf(error) !== 'later') throw error
        if (pause_ms === 0) {
          report(`${this.#group} failed and retries, nothing is lost: ${(error as Error).message}`)
        }
        pause_ms = longerPause(pause_ms)
        await sleep(pause_ms, this.#signal)
        if (this.#signal.aborted) throw STOPPED
      }
    }
  }

  /** Ids of the topics that it appends to, in the order of `types`; empty if any of them does not exist. */
  async #topicIds(): Promise<readonly string[]> {
    const known = new Map((await this.#options.log.topics()).map(({ name, id }) => [name, id]))
    const ids = this.#source.types.map(({ type }) => known.get(type) ?? '')
    return ids.includes('') ? [] : ids
  }

  /** A live source cannot emit its events again, so it continues in the new topic. */
  async #expectSameTopics({ topic, next, seen }: Position, ids: readonly string[]): Promise<void> {
    const { types, steps, kind } = this.#source
    if (kind === 'live') return
    const { log } = this.#options
    const before = seen?.topic_id ? seen.topic_id.split(',') : []
    const other = types.find((_, at) => ids[at] !== undefined && before[at] !== undefined && ids[at] !== before[at])
    // A position of an earlier release has no topic ids: only an empty topic shows that the events are lost.
    const is_empty = seen === undefined && (await log.endOffsets(topic)).every((end) => end === 0n)
    if (other === undefined && !is_empty) return
    const of = Number.isFinite(steps) ? ` of ${steps}` : ''
    throw new TopicReplacedError(
      `${log.address}: ${this.#group} has brought in ${next}${of} steps, and ${other?.type ?? topic} was deleted and made ` +
        `again since: what it would add now comes after what is gone. To bring in all of it again (an event that is ` +
        `still there counts once): ./plumbline positions reset --only '${this.#group}'`,
    )
  }
}

/** An earlier release stored the position under the topic of each transaction's first event, so there can be several. */
function lastOf(positions: readonly Position[]): Position | undefined {
  return positions.reduce<Position | undefined>(
    (last, one) => (last !== undefined && last.next > one.next ? last : one),
    undefined,
  )
}
