import { expect, onTestFinished } from 'vitest'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { httpClient } from '../infra/http/http-client.ts'
import { withShortPolls } from '../infra/log/conformance/altered-log.ts'
import { MemoryBroker } from '../infra/log/memory/broker.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { effectWorker } from '../infra/runtime/work/effect-worker.ts'
import type { WorkerEvent } from '../infra/runtime/work/worker.ts'
import { askPolicy } from '../processors/ask-policy/ask-policy.ts'
import type { SamplingOptions } from '../processors/ask-policy/chat-request.ts'
import type { Event, RowOfEvent } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { startAt } from '../schemas/events/tower.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { ChatServer, type ChatServerOptions } from './chat-server.ts'
import { recordsOf } from './counting.ts'
import { requested, SCENE } from './tower-events.ts'

export const PARTITIONS = 2
export const vocabulary = catalogueOf(catalogue)
export const PNG = Buffer.from('the picture')

export type Row = RowOfEvent<typeof completionsSampled>

/** A log with requests, and a worker that requests their completions from a server. */
export class PolicyStage {
  readonly broker = new MemoryBroker()
  readonly blobs = memoryBlobs()
  readonly events: WorkerEvent[] = []

  static async open(groups: number, group_size = 4, asked: Partial<Row> = {}): Promise<PolicyStage> {
    const stage = new PolicyStage()
    const log = memoryLog({ broker: stage.broker })
    await log.createTopics(
      topicsOf(catalogue, [{ name: 'sample-completions' }, { name: 'activate-models' }], PARTITIONS),
    )
    const image = { ...SCENE.image, ...(await stage.blobs.put(PNG, 'image/png')) }
    const producer = await log.producer({ transactional_id: 'test' })
    const transaction = producer.begin()
    for (let group = 0; group < groups; group++) {
      const { temperature = null, top_p = null, top_k = null, max_tokens = null, stop = [] } = asked
      const sampling = { temperature, top_p, top_k, max_tokens, stop }
      const request = requested(
        { group_id: `g${group}`, group_size, seed: `${group}`, ...startAt({ ...SCENE, image }), sampling },
        `r${group}`,
      )
      const { key, headers, value } = encodeEvent(rolloutRequested, request as unknown as Event)
      transaction.append(rolloutRequested.type, partitionOf(key, PARTITIONS), { key, headers, value })
    }
    await transaction.commit()
    return stage
  }

  /** Runs until the worker is idle, or for at most `for_ms` (30 s). */
  async run(
    url: string,
    {
      for_ms,
      api_key,
      sampling = {},
      unsupported_tokens,
      max_answer_bytes,
      ...limits
    }: {
      for_ms?: number
      api_key?: string
      sampling?: SamplingOptions
      unsupported_tokens?: readonly number[]
      max_answer_bytes?: number
      concurrency?: number
      timeout_ms?: number
    } = {},
  ): Promise<void> {
    const stop = new AbortController()
    const worker = effectWorker({
      log: withShortPolls(memoryLog({ broker: this.broker })),
      blobs: this.blobs,
      processor: askPolicy({
        ...{ url, model: 'tiny', sampling },
        ...(unsupported_tokens === undefined ? {} : { unsupported_tokens }),
      }),
      vocabulary,
      partitions: PARTITIONS,
      instance: `${performance.now()}`,
      onEvent: (event) => this.events.push(event),
      tuning: { commit_interval_ms: 5, session_timeout_ms: 2_000 },
      outside: {
        http: httpClient({ api_key, ...(max_answer_bytes === undefined ? {} : { max_answer_bytes }) }),
        limits: { waits: { first_ms: 20, longest_ms: 100, permanent_ms: 200 }, ...limits },
      },
    })
    const running = worker.run(stop.signal)
    const until = performance.now() + (for_ms ?? 30_000)
    for (let quiet = 0; quiet < 3 && performance.now() < until; quiet = worker.idle ? quiet + 1 : 0) {
      await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 20))])
    }
    stop.abort()
    await running
  }

  async emitted(): Promise<Event<typeof completionsSampled>[]> {
    const records = await recordsOf(memoryLog({ broker: this.broker }), completionsSampled.type)
    return records.map((record) => decodeEvent(record, vocabulary) as Event<typeof completionsSampled>)
  }

  async rows(): Promise<Row[]> {
    return (await this.emitted()).flatMap((event) => event.data)
  }

  notices(): string[] {
    return this.events.flatMap((event) => (event.kind === 'notice' ? [event.message] : []))
  }

  troubles(): string[] {
    return this.events.flatMap((event) => (event.kind === 'retrying' ? [event.error.message] : []))
  }
}

export async function server(options: ChatServerOptions = {}): Promise<ChatServer> {
  const started = await ChatServer.start(options)
  onTestFinished(() => started.stop())
  return started
}

/** Expects every index of every group once, with one attempt per group. */
export function expectWhole(rows: readonly Row[], groups: number, group_size = 4): void {
  const places = rows.map((row) => `${row.group_id}/${row.completion_index}`).sort()
  const wanted = Array.from(
    { length: groups * group_size },
    (_, at) => `g${Math.floor(at / group_size)}/${at % group_size}`,
  )
  expect(places).toEqual(wanted.sort())
  expect(new Set(rows.map((row) => row.attempt_id)).size).toBe(groups)
}
