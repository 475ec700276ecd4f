import type { Random } from '../../../environments/tower/random.ts'
import { RivalError } from '../../../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../../../infra/sleep.ts'
import type { Feed } from '../../../sinks/feed/feed.ts'
import type { OpenConsumer } from '../../../sinks/feed/open-consumer.ts'
import { FeedRefusal } from '../../../sinks/feed/refusal.ts'
import { pick } from '../../../testing/pick.ts'
import type { Actor } from '../actor.ts'
import type { Scheduler } from '../scheduler.ts'
import type { SimulatedProcess } from '../simulated-process.ts'
import { CONSUMER } from './inputs.ts'

/** A process with a feed in it. */
export interface FeedProcess {
  readonly process: SimulatedProcess
  readonly feed: Feed
  is_closing: boolean
}

/** A call of a trainer, as the feed's routes make it of its body. */
export type Call<A> = (lab: OpenConsumer, feed: Feed) => Promise<A>

const TIMEOUT_MS = 1_500
/** How often a call goes to a feed that is not the last one that was started. */
const ASTRAY = 0.15

/**
 * Carries calls to feeds, and answers back. Either may be lost or late, and a call that was given up may be made by the
 * feed all the same. A trainer repeats a call until it is answered.
 */
export class Network {
  readonly #scheduler: Scheduler
  readonly #random: Random
  readonly #feeds: () => readonly FeedProcess[]
  readonly #breaks: (what: string) => void

  constructor(options: {
    readonly scheduler: Scheduler
    readonly random: Random
    readonly feeds: () => readonly FeedProcess[]
    readonly breaks: (what: string) => void
  }) {
    this.#scheduler = options.scheduler
    this.#random = options.random
    this.#feeds = options.feeds
    this.#breaks = options.breaks
  }

  /** @throws FeedRefusal */
  async ask<A>(who: Actor, what: string, call: Call<A>): Promise<A> {
    for (;;) {
      try {
        const answer = await this.once(who, what, call)
        // The trainer does not know that it was answered, and the second call may be answered late.
        if (this.#random.uniform() < 0.05) await this.once(who, `${what} again`, call).catch(() => undefined)
        return answer
      } catch (error) {
        if (error instanceof FeedRefusal) throw error
        if (!isTrouble(error)) this.#breaks(`${who.name}: ${what}: ${error instanceof Error ? error.stack : error}`)
        await sleep(this.#random.integer(5, 100))
      }
    }
  }

  /** @throws FeedRefusal, or Error when there is no answer */
  async once<A>(who: Actor, what: string, call: Call<A>): Promise<A> {
    const timer = new AbortController()
    const late = sleep(TIMEOUT_MS, timer.signal).then(() => 'late' as const)
    const sent = this.#send(who, what, call)
    const outcome = await Promise.race([sent, late])
    timer.abort()
    if (outcome === 'late') throw new Error(`simulated: simulated: ${what}: no answer within ${TIMEOUT_MS} ms`)
    if ('error' in outcome) throw outcome.error
    return outcome.answer
  }

  /** Never rejects. Resolves in a turn of the caller. */
  async #send<A>(
    who: Actor,
    what: string,
    call: Call<A>,
  ): Promise<{ readonly answer: A } | { readonly error: unknown }> {
    const host = this.#pick()
    if (host === undefined) {
      await this.#scheduler.turn(who, `${what}: connection refused`)
      return { error: new Error('simulated: simulated: connection refused') }
    }
    const kinds = { may_fail: true, is_delicate: true }
    const before = await this.#scheduler.turn(host.process, `${what} of ${who.name}`, kinds)
    const outcome =
      before === 'call failed'
        ? { error: new Error(`simulated: simulated: ${what} was lost`) }
        : await answered(host, call)
    const after = await this.#scheduler.turn(who, `answer to ${what}`, kinds)
    return after === 'call failed'
      ? { error: new Error(`simulated: simulated: the answer to ${what} was lost`) }
      : outcome
  }

  #pick(): FeedProcess | undefined {
    const live = this.#feeds().filter(({ process, is_closing }) => process.state !== 'dead' && !is_closing)
    return live.length > 1 && this.#random.uniform() < ASTRAY ? pick(this.#random, live) : live.at(-1)
  }
}

async function answered<A>({ feed }: FeedProcess, call: Call<A>) {
  try {
    return { answer: await call(await feed.consumer(CONSUMER, 'open'), feed) }
  } catch (error) {
    return { error }
  }
}

/** Whether an error is one that the simulation has made, or that a feed has when another one has the consumer. */
export const isTrouble = (error: unknown): boolean =>
  error instanceof RivalError ||
  (error instanceof Error &&
    (/simulated: simulated:|fenced|is closed|another feed|does the same work|expected a subscription, found none/.test(
      error.message,
    ) ||
      error.name === 'AbortError'))
