import type { NewRecord } from '../../infra/log/port/log.ts'
import type { ResumingProducer } from '../../infra/runtime/work/resuming-producer.ts'
import { consumerSubscribed } from '../../schemas/events/training.ts'
import type { Standing } from './consumer-state.ts'

/** Where a test may kill the process: a transaction is about to be committed, or has been. */
export type FeedStage = 'decided' | 'committed'

/** @param calls how many calls have events in the transaction */
export type ObserveCommits = (stage: FeedStage, calls: number) => unknown

export interface Append {
  readonly topic: string
  readonly partition: number
  readonly record: NewRecord
}

export interface SharedCommitsOptions {
  readonly observe?: ObserveCommits | undefined
  /** Called after each transaction with events. */
  readonly committed: (standing: Standing) => void
}

/** Inferred: far below what either log takes as one transaction, and many steps of a trainer. */
const MOST_WAITING_BYTES = 4 * 2 ** 20

/**
 * The transactions of a consumer's feed, one at a time. What is added while one is under way is the next one, so calls
 * that come together share a flush. After a failure nothing is committed any more: what the log has is not known.
 */
export class SharedCommits {
  readonly #producer: ResumingProducer
  readonly #options: SharedCommitsOptions
  #standing: Standing
  #waiting: Batch | undefined
  #under_way: Batch | undefined
  #running: Promise<void> = Promise.resolve()
  #failure: { readonly why: unknown } | undefined

  constructor(producer: ResumingProducer, standing: Standing, options: SharedCommitsOptions) {
    this.#producer = producer
    this.#standing = standing
    this.#options = options
  }

  /** The consumer after the last event that was committed. */
  get standing(): Standing {
    return this.#standing
  }

  /** Why nothing more is committed, if so. */
  get failure(): unknown {
    return this.#failure?.why
  }

  /**
   * Appends with the next transaction.
   *
   * @param standing of the consumer after the events among them; left out when there are none
   * @throws the failure
   */
  add(appends: readonly Append[], standing?: Standing): void {
    if (this.#failure !== undefined) throw this.#failure.why
    const is_first = this.#waiting === undefined
    this.#waiting ??= new Batch()
    this.#waiting.add(appends, standing)
    if (is_first && this.#under_way === undefined) this.#running = this.#run()
  }

  /** Resolves once everything is committed that was added before. @throws the failure */
  async settled(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.why
    await (this.#waiting ?? this.#under_way)?.done
  }

  /** Resolves once what waits is small enough for more. @throws the failure */
  async room(): Promise<void> {
    while (this.#waiting !== undefined && this.#waiting.bytes >= MOST_WAITING_BYTES) {
      await (this.#under_way ?? this.#waiting).done
    }
    if (this.#failure !== undefined) throw this.#failure.why
  }

  /** Resolves when nothing is under way. Never rejects. */
  async idle(): Promise<void> {
    let running: Promise<void>
    do {
      running = this.#running
      await running
    } while (running !== this.#running)
  }

  /** Lets everything fail that is not committed, and all that comes. Only the first reason counts. */
  fail(why: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = { why }
    for (const batch of [this.#under_way, this.#waiting]) batch?.reject(why)
    this.#waiting = undefined
  }

  async #run(): Promise<void> {
    // Calls that came at the same moment decide first. The host's own, so that a simulation can replace it.
    await new Promise<void>((resolve) => void setImmediate(resolve))
    for (let batch = this.#next(); batch !== undefined; batch = this.#next()) {
      try {
        await this.#commit(batch)
      } catch (error) {
        this.fail(error)
        this.#under_way = undefined
        return
      }
      batch.resolve()
    }
  }

  #next(): Batch | undefined {
    this.#under_way = this.#waiting
    this.#waiting = undefined
    return this.#under_way
  }

  async #commit({ appends, standing, calls }: Batch): Promise<void> {
    const { observe, committed } = this.#options
    if (standing !== undefined) observe?.('decided', calls)
    await this.#producer.commit(
      (transaction) => {
        for (const { topic, partition, record } of appends) transaction.append(topic, partition, record)
      },
      [positionAt((standing ?? this.#standing).number)],
    )
    if (standing === undefined) return
    observe?.('committed', calls)
    this.#standing = standing
    committed(standing)
  }
}

/** Where the feed of a consumer is: after so many of its events. */
export const positionAt = (number: number) => ({ topic: consumerSubscribed.type, partition: 0, next: BigInt(number) })

class Batch {
  readonly appends: Append[] = []
  standing: Standing | undefined
  calls = 0
  bytes = 0
  readonly done: Promise<void>
  resolve: () => void = () => {}
  reject: (why: unknown) => void = () => {}

  constructor() {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.done = promise
    this.resolve = resolve
    this.reject = reject
    // It may be that no call waits for it.
    promise.catch(() => {})
  }

  add(appends: readonly Append[], standing: Standing | undefined): void {
    this.standing = standing ?? this.standing
    if (standing !== undefined) this.calls++
    for (const append of appends) {
      this.appends.push(append)
      this.bytes += append.record.value?.byteLength ?? 0
    }
  }
}
