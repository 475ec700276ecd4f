import { memoryBlobs } from '../infra/blobs/memory.ts'
import { MemoryBroker } from '../infra/log/memory/broker.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { readRange } from '../infra/runtime/internal/json-records.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import type { Event, EventType } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { groupExpired, groupFormed, type PURPOSES, rolloutRequested } from '../schemas/events/rollout.ts'
import { scenePresented } from '../schemas/events/tower.ts'
import { TRAINING_EVENTS } from '../schemas/events/training.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { homesOf } from '../schemas/wire/routing.ts'
import type { Wanted } from '../sinks/feed/decide/subscribe.ts'
import { Feed, type FeedOptions } from '../sinks/feed/feed.ts'
import { DEFAULT_SUBSCRIPTION } from '../sinks/feed/subscription.ts'
import { published } from './published-model.ts'
import { example } from './test-driver.ts'
import { requested } from './tower-events.ts'

export const FEED_EVENTS: readonly EventType[] = [
  ...[scenePresented, rolloutRequested, groupFormed, groupExpired, modelPublished],
  ...TRAINING_EVENTS,
]
const PARTITIONS = 3

/** With leases that are short and few checkpoints. */
export const SUBSCRIPTION: Wanted = { ...DEFAULT_SUBSCRIPTION, lease_ms: 1_000, keep_checkpoints: 4 }

/** What a trainer measures of a step, nothing of it. */
export const NO_METRICS = { loss: null, grad_norm: null, tokens: null, seconds: null, metrics: {} }

export interface Formed {
  readonly time?: string
  readonly task?: string
  readonly rewards?: readonly number[]
  readonly version?: number
  readonly lineage?: string
  readonly purpose?: (typeof PURPOSES)[number]
}

/** A group as `form-groups` emits it, of scripted completions unless it has a version. */
export function formed(group_id: string, options: Formed = {}): Event<typeof groupFormed> {
  const {
    rewards = [1, 0],
    version = null,
    lineage = null,
    task = 'x_only',
    purpose = 'train',
    time = '2026-01-01T00:00:00.000Z',
  } = options
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length
  const data = rewards.map((reward, completion_index) => ({
    ...{ group_id, completion_index, attempt_id: 'a', sampled_id: `s-${group_id}`, origin: 'tower', task },
    ...{
      group_size: rewards.length,
      purpose,
      start_id: 'start',
      prompt_sha256: 'p',
      images: [],
      policy: 'oracle',
      text: '5',
    },
    ...{ finish_reason: null, prompt_token_ids: null, token_ids: null, completion_mask: null, logprobs: null },
    ...{ logprobs_kind: null, token_policy_version: null, turn_index: null, trainable: false, outcome: 'stable' },
    ...{ reward, reward_name: 'paper', advantage: reward - mean, dialect: 'paper' as const },
    ...{ reward_mean: mean, reward_std: 0, zero_variance: rewards.every((one) => one === rewards[0]) },
    ...{ policy_version_oldest: version, policy_version_newest: version, lineage },
  }))
  return {
    ...{ id: `formed-${group_id}`, source: '/processors/form-groups', type: groupFormed.type },
    ...{ version: groupFormed.version, time, clock: 'virtual', key: group_id, causes: [], data },
  }
}

/** A log with groups and models, and feeds that share it. Time passes when the test says so. */
export class FeedLog {
  readonly broker = new MemoryBroker()
  readonly log: Log
  readonly #given: Log | undefined
  readonly blobs = memoryBlobs()
  now_ms = 0
  readonly reported: string[] = []
  readonly #feeds: Feed[] = []

  private constructor(given?: Log) {
    this.#given = given
    this.log = given ?? memoryLog({ broker: this.broker })
  }

  /** @param log default: one in memory, of which each feed has a handle of its own */
  static async create(log?: Log): Promise<FeedLog> {
    const made = new FeedLog(log)
    await made.log.createTopics(topicsOf(FEED_EVENTS, [], PARTITIONS))
    return made
  }

  async append(...events: readonly Event[]): Promise<void> {
    const producer = await this.log.producer({ transactional_id: 'test' })
    const transaction = producer.begin()
    for (const event of events) {
      const type = FEED_EVENTS.find((one) => one.type === event.type) as EventType
      const { key, headers, value } = encodeEvent(type, event)
      for (const home of homesOf(type, key, PARTITIONS)) transaction.append(type.type, home, { key, headers, value })
    }
    await transaction.commit()
    await producer.close()
  }

  /** An event whose large columns are blobs. */
  async appendLarge(event: Event): Promise<void> {
    const { blobs } = encodeEvent(groupFormed, event)
    expectLarge(blobs.length)
    for (const { bytes, ref } of blobs) await this.blobs.put(bytes, ref.media_type)
    await this.append(event)
  }

  /** Every record of a topic. */
  async records(topic: string): Promise<readonly LogRecord[]> {
    const found: LogRecord[] = []
    for (let partition = 0; partition < PARTITIONS; partition++) {
      for await (const record of readRange(this.log, topic, partition, 0n)) found.push(record)
    }
    return found
  }

  /** Records as any program may append them. */
  async appendRecords(topic: string, ...records: readonly LogRecord[]): Promise<void> {
    const producer = await this.log.producer({ transactional_id: 'test' })
    const transaction = producer.begin()
    for (const { partition, key, headers, value } of records) {
      transaction.append(topic, partition, { key, headers, value })
    }
    await transaction.commit()
    await producer.close()
  }

  /** Groups g0, g1, … of rising time. */
  async form(count: number, options: Formed & { readonly from?: number } = {}): Promise<void> {
    const { from = 0, ...rest } = options
    const time = (at: number) => new Date(Date.UTC(2026, 0, 1) + at * 1_000).toISOString()
    const events = Array.from({ length: count }, (_, at) => formed(`g${from + at}`, { time: time(from + at), ...rest }))
    await this.append(...events)
  }

  /** Requests for the groups g0, g1, …. */
  async ask(count: number, { from = 0, task = 'x_only' } = {}): Promise<void> {
    const ids = Array.from({ length: count }, (_, at) => `g${from + at}`)
    await this.append(...ids.map((group_id) => requested({ group_id, task }, `asked-${group_id}`)))
  }

  /** These groups expire, as `form-groups` emits it. */
  async expire(...group_ids: readonly string[]): Promise<void> {
    const lost = {
      group_size: 2,
      clock: 'wall',
      deadline: '2026-01-01T00:10:00.000Z',
      missing: [0, 1],
      held: [],
    } as const
    const source = '/processors/form-groups'
    await this.append(
      ...group_ids.map((group_id) => {
        return { ...example(groupExpired, { group_id, ...lost }, { id: `expired-${group_id}` }), source }
      }),
    )
  }

  async publish(lineage: string, version: number): Promise<void> {
    await this.append(published({ model_id: `${lineage}-${version}`, lineage, version }))
  }

  /** What a reader of the training events needs. */
  get reading() {
    const { log, blobs } = this
    return { log, blobs, vocabulary: catalogueOf(FEED_EVENTS), partitions: PARTITIONS }
  }

  feed(options: Partial<FeedOptions> = {}): Feed {
    const feed = new Feed({
      ...{ ...this.reading, log: this.#given ?? memoryLog({ broker: this.broker }) },
      report: (message: string) => void this.reported.push(message),
      ...{ now_ms: () => this.now_ms, time: () => new Date(this.now_ms).toISOString() },
      ...options,
    })
    this.#feeds.push(feed)
    return feed
  }

  async close(): Promise<void> {
    for (const feed of this.#feeds) await feed.close()
    await this.log.close()
  }
}

/** The log, with some of its calls changed. */
export function changed(original: Log, changes: Partial<Log>): Log {
  return new Proxy(original, {
    get: (target, name) => {
      const found = (changes as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name)
      return typeof found === 'function' ? found.bind(target) : found
    },
  })
}

function expectLarge(blobs: number): void {
  if (blobs === 0) throw new Error('expected a column of more than 64 KiB')
}
