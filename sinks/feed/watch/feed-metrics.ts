import { setTimeout as wait } from 'node:timers/promises'
import type { MetricFamily } from '../../../infra/runtime/watch/open-metrics.ts'
import type { Feed } from '../feed.ts'
import type { OpenConsumer } from '../open-consumer.ts'
import { ANSWERED_CODES } from '../refusal.ts'

/** Well within the 10 seconds that Prometheus waits for an answer. */
const LOG_PATIENCE_MS = 5_000

type Sample = MetricFamily['samples'][number]

/** The metrics of a feed: of each consumer that it has and that has not retired. */
export class FeedMetrics {
  readonly #feed: Feed
  readonly #patience_ms: number
  /** A log that is away is tried for longer than a scraper waits, so all scrapes share one look. */
  readonly #looking = new Map<OpenConsumer, Promise<number>>()

  constructor(feed: Feed, patience_ms = LOG_PATIENCE_MS) {
    this.#feed = feed
    this.#patience_ms = patience_ms
  }

  /** @param sees whether the caller may see a consumer */
  async families(sees: (consumer: string) => boolean): Promise<MetricFamily[]> {
    const { counts } = this.#feed
    const consumers = this.#feed.consumers.filter(
      ({ name, standing }) => standing.subscription !== undefined && standing.retired === undefined && sees(name),
    )
    const behind = await Promise.all(consumers.map((consumer) => this.#behind(consumer)))
    const each = (samples: (consumer: OpenConsumer, at: number) => readonly (number | undefined)[]): Sample[] =>
      consumers.flatMap((consumer, at) =>
        samples(consumer, at).flatMap((value) =>
          value === undefined ? [] : [{ labels: { consumer: consumer.name }, value }],
        ),
      )
    const refusals = (labels: Readonly<Record<string, string>>, consumer: string): Sample[] => {
      const counted = counts.refusals(consumer)
      // A counter must exist from the beginning, or its first increase is not visible.
      return ANSWERED_CODES.map((code) => ({ labels: { ...labels, code }, value: counted.get(code) ?? 0 }))
    }
    return [
      {
        name: 'plumbline_feed_groups',
        type: 'gauge',
        help: 'Groups of the consumer by state; numbered: those that have a number and wait.',
        samples: consumers.flatMap(({ name, standing: { counts } }) => {
          const { expired: _, ...states } = counts
          return Object.entries(states).map(([of, value]) => ({ labels: { consumer: name, state: of }, value }))
        }),
      },
      {
        name: 'plumbline_feed_expired_offsets',
        type: 'gauge',
        help: 'Offsets that left the log before the consumer was given their groups: at most so many groups.',
        samples: each(({ standing }) => [standing.counts.expired]),
      },
      {
        name: 'plumbline_feed_behind_groups',
        type: 'gauge',
        help: 'Groups that the consumer has not numbered yet, at most.',
        samples: each((_, at) => [behind[at]]),
      },
      {
        name: 'plumbline_feed_epoch',
        type: 'gauge',
        help: 'The current epoch of the consumer: how often its runs were started or resumed.',
        samples: each(({ standing }) => [standing.run?.epoch ?? 0]),
      },
      {
        name: 'plumbline_feed_rank_silence_seconds',
        type: 'gauge',
        unit: 'seconds',
        help: 'Since the rank of the current epoch that has been silent for longest was heard of.',
        samples: each((consumer) => [consumer.silence_seconds]),
      },
      {
        name: 'plumbline_feed_commits',
        type: 'counter',
        help: 'Transactions of events that this feed has committed for the consumer.',
        samples: each(({ name }) => [counts.commits(name)]),
      },
      {
        name: 'plumbline_feed_refusals',
        type: 'counter',
        help: 'Calls that were refused, by code; without a consumer those about none that this feed has.',
        samples: [...refusals({}, ''), ...consumers.flatMap(({ name }) => refusals({ consumer: name }, name))],
      },
      {
        name: 'plumbline_log_reachable',
        type: 'gauge',
        help: '0 when the log did not answer while these numbers were collected.',
        samples: [{ labels: {}, value: behind.includes(undefined) ? 0 : 1 }],
      },
      {
        name: 'plumbline_memory_resident_bytes',
        type: 'gauge',
        unit: 'bytes',
        help: 'Resident memory of the process, mapped pages of the log included.',
        samples: [{ labels: {}, value: process.memoryUsage.rss() }],
      },
    ]
  }

  /** Undefined when the log does not answer. */
  async #behind(consumer: OpenConsumer): Promise<number | undefined> {
    const looking = this.#looking.get(consumer) ?? consumer.behind().finally(() => this.#looking.delete(consumer))
    this.#looking.set(consumer, looking)
    return await Promise.race([looking.catch(() => undefined), wait(this.#patience_ms, undefined, { ref: false })])
  }
}
