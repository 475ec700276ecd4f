import type { ResumingProducer } from '../../infra/runtime/work/resuming-producer.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import type { Partitions } from '../../schemas/wire/partitions.ts'
import { homesOf } from '../../schemas/wire/routing.ts'
import type { ConsumerState, Standing } from './consumer-state.ts'
import { Decisions } from './decide/decisions.ts'
import { FeedRefusal } from './refusal.ts'
import { type Append, type ObserveCommits, SharedCommits } from './shared-commits.ts'

export interface DecidingOptions {
  readonly partitions: Partitions
  /** The time of events. */
  readonly time: () => string
  readonly observe?: ObserveCommits
  /** Called after each commit. */
  readonly committed?: (consumer: string) => void
}

/**
 * Decides for a consumer, one call after the other, and has its events committed. Each decision is in the state at once.
 * No answer leaves before a commit has everything that the answer may depend on, so calls that wait for a commit together
 * share one. After a failure nothing is decided any more: the state may have what the log does not.
 */
export class Deciding {
  /** As it is decided. */
  readonly state: ConsumerState
  readonly #options: DecidingOptions
  readonly #commits: SharedCommits
  #turn: Promise<unknown> = Promise.resolve()
  /** Called after each decision. */
  readonly #decided: () => void

  constructor(options: DecidingOptions, producer: ResumingProducer, state: ConsumerState, decided: () => void) {
    this.#options = options
    this.#decided = decided
    this.state = state
    this.#commits = new SharedCommits(producer, state.standing, {
      observe: options.observe,
      committed: () => options.committed?.(state.name),
    })
  }

  /** The consumer as of the last commit. */
  get standing(): Standing {
    return this.#commits.standing
  }

  get failure(): unknown {
    return this.#commits.failure
  }

  run<A>(decide: (decisions: Decisions) => A | Promise<A>): Promise<Awaited<A>> {
    return this.runThen(decide, (decided) => decided)
  }

  /**
   * Runs a decision in its turn, and has the events that it makes committed. The answer, also a refusal, is held until then.
   *
   * @param answer to a decision that is in the state
   */
  async runThen<D, A>(
    decide: (decisions: Decisions) => D | Promise<D>,
    answer: (decided: Awaited<D>) => A,
  ): Promise<A> {
    const { held } = await this.#inTurn(async () => {
      await this.#commits.room()
      const decisions = new Decisions(this.state, this.#options.time())
      try {
        const decided = await decide(decisions)
        this.#add(decisions)
        return { held: this.seen(() => answer(decided)) }
      } catch (error) {
        return { held: this.seen((): A => raise(error)) }
      }
    })
    return await held
  }

  /**
   * What `look` finds in the state now, or throws, once all of that state is committed. A refusal is confirmed: a later
   * feed may know what this one does not, and a trainer that is refused by mistake gives up its run or its groups.
   */
  async seen<A>(look: () => A): Promise<A> {
    let tell: () => A
    try {
      const found = look()
      tell = () => found
    } catch (error) {
      tell = () => raise(error)
      // A transaction without events, which fails once another feed has the consumer.
      if (error instanceof FeedRefusal) this.#commits.add([])
    }
    await this.#commits.settled()
    return tell()
  }

  /** Commits a record that is no event, after the events that are decided. @throws the failure */
  append(record: Append): void {
    this.#commits.add([record])
  }

  /** Commits what is decided, and decides nothing more. Never rejects. */
  async close(): Promise<void> {
    const closing = this.#inTurn(async () => {
      await this.#commits.idle()
      this.#commits.fail(new Error(`consumer ${this.state.name}: this feed is closed`))
    })
    // It may have failed before.
    await closing.catch(() => {})
  }

  #add({ made }: Decisions): void {
    if (made.length === 0) return
    const { partitions } = this.#options
    // What cannot be encoded must not be in the state.
    const appends = made.flatMap(({ type, event }): Append[] => {
      const { key, headers, value } = encodeEvent(type, event)
      const record = { key, headers, value }
      return homesOf(type, key, partitions).map((partition) => ({ topic: type.type, partition, record }))
    })
    try {
      for (const { event } of made) this.state.apply(event)
    } catch (error) {
      this.#commits.fail(error)
      throw error
    }
    this.#commits.add(appends, this.state.standing)
    this.#decided()
  }

  #inTurn<A>(work: () => Promise<A>): Promise<A> {
    const turn = this.#turn.then(() => {
      if (this.failure !== undefined) throw this.failure
      return work()
    })
    this.#turn = turn.catch(() => {})
    return turn
  }
}

function raise(error: unknown): never {
  throw error
}
