import { sourceOf } from '../../infra/ce-source.ts'
import type { Log, NewRecord } from '../../infra/log/port/log.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { toJson } from '../../infra/runtime/internal/json-records.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import type { DataOf, Event, EventType, RowOfEvent } from '../../schemas/declare/event.ts'
import { completionsSampled, NO_MODEL } from '../../schemas/events/policy.ts'
import { completionsRescored } from '../../schemas/events/reward.ts'
import {
  completionRejected,
  groupExpired,
  groupFormed,
  type REJECTIONS,
  rolloutRequested,
} from '../../schemas/events/rollout.ts'
import { completionsScored, startAt } from '../../schemas/events/tower.ts'
import { towerOrigin } from '../../schemas/events/tower-origin.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import type { Blob } from '../../schemas/wire/offload.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { DERIVED_BY } from '../../sinks/duckdb/views/derived.ts'
import { catalogue } from '../../streams/vocabulary.ts'

/** For tests of the sink: a log of a tower pipeline with hand-made events, one story at a time. */

export const PARTITIONS = 2
const TIME = '2026-01-01T00:00:00.000Z'
const FOLD = 'form-groups'

export async function createTopics(log: Log, types: readonly EventType[] = catalogue): Promise<void> {
  await log.createTopics(topicsOf(types, [{ name: FOLD }], PARTITIONS))
}

/** An event as its own processor emits it, or as `source` does. */
export function eventOf<T extends EventType>(
  type: T,
  id: string,
  key: string,
  data: DataOf<T>,
  source = sourceNamed(type),
): Event<T> {
  return {
    id,
    source,
    type: type.type,
    version: type.version,
    time: TIME,
    key,
    clock: 'virtual',
    causes: [],
    data,
  }
}

const { scored, scored_by, rescored: others } = towerOrigin

function sourceNamed({ type }: EventType): string {
  const derived = { ...DERIVED_BY, [scored.type]: scored_by, [others.event.type]: others.by }
  const processor = Object.entries(derived).find(([name]) => name === type)?.[1]
  return processor === undefined ? '/tests' : sourceOf(processor)
}

/** Appends in one transaction, optionally with positions of form-groups. */
export async function append(log: Log, write: (story: Story) => void): Promise<void> {
  const producer = await log.producer({ transactional_id: 'test' })
  const transaction = producer.begin()
  const story = new Story((topic, partition, record) => transaction.append(topic, partition, record))
  write(story)
  if (story.positions.length > 0) transaction.standalonePositions(FOLD, story.positions)
  await transaction.commit()
  await producer.close()
}

export class Story {
  readonly positions: { topic: string; partition: number; next: bigint }[] = []
  readonly #append: (topic: string, partition: number, record: NewRecord) => void

  constructor(append: (topic: string, partition: number, record: NewRecord) => void) {
    this.#append = append
  }

  event<T extends EventType>(type: T, event: Event<T>): this {
    return this.eventIn(type, event, partitionOf(event.key, PARTITIONS))
  }

  /** In the given partition. */
  eventIn<T extends EventType>(type: T, event: Event<T>, partition: number): this {
    const { key, headers, value } = encodeEvent(type, event as Event)
    this.#append(type.type, partition, { key, headers, value })
    return this
  }

  raw(topic: string, partition: number, record: NewRecord): this {
    this.#append(topic, partition, record)
    return this
  }

  requested(
    group_id: string,
    group_size: number,
    prompt = 'How far?',
    more: Partial<RowOfEvent<typeof rolloutRequested>> = {},
  ): this {
    const data = { ...requestData(group_id, group_size, prompt), ...more }
    return this.event(rolloutRequested, eventOf(rolloutRequested, `req-${group_id}`, group_id, data))
  }

  sampled(group_id: string, indices: readonly number[], { id = `sampled-${group_id}`, attempt = 'a1' } = {}): this {
    const rows = indices.map((index) => sampledRow(group_id, index, attempt))
    return this.event(completionsSampled, eventOf(completionsSampled, id, group_id, rows))
  }

  /** One completion so long that its columns are blobs. @returns the blobs, which the caller must store */
  sampledLong(group_id: string, tokens: number): readonly Blob[] {
    const token_ids = Array.from({ length: tokens }, (_, index) => index)
    const rows = [{ ...sampledRow(group_id, 0, 'a1'), token_ids }]
    const event = eventOf(completionsSampled, `sampled-${group_id}`, group_id, rows)
    const { key, headers, value, blobs } = encodeEvent(completionsSampled, event as Event)
    this.#append(completionsSampled.type, partitionOf(key, PARTITIONS), { key, headers, value })
    return blobs
  }

  scored(group_id: string, rewards: readonly number[], sampled_id = `sampled-${group_id}`): this {
    const rows = rewards.map((reward, index) => scoredRow(group_id, index, reward, sampled_id))
    return this.event(completionsScored, eventOf(completionsScored, `scored-${group_id}`, group_id, rows))
  }

  formed(
    group_id: string,
    rewards: readonly number[],
    sampled_id = `sampled-${group_id}`,
    more: Partial<RowOfEvent<typeof groupFormed>> = {},
  ): this {
    const rows = rewards.map((reward, index) => ({
      ...formedRow(group_id, index, reward, rewards, sampled_id),
      ...more,
    }))
    return this.event(groupFormed, eventOf(groupFormed, `formed-${group_id}`, group_id, rows))
  }

  expired(group_id: string, held: readonly number[], missing: readonly number[]): this {
    const data = {
      group_id,
      group_size: held.length + missing.length,
      clock: 'virtual' as const,
      deadline: TIME,
      missing: [...missing],
      held: held.map((completion_index) => ({ sampled_id: `sampled-${group_id}`, completion_index, attempt_id: 'a1' })),
    }
    return this.event(groupExpired, eventOf(groupExpired, `expired-${group_id}`, group_id, data))
  }

  rejected(
    group_id: string,
    completion_index: number,
    reason: (typeof REJECTIONS)[number],
    sampled_id = `sampled-${group_id}`,
  ): this {
    const data = { group_id, sampled_id, completion_index, attempt_id: 'a1', reason, detail: 'told by the test' }
    const id = `rejected-${sampled_id}-${completion_index}-${reason}`
    return this.event(completionRejected, eventOf(completionRejected, id, group_id, data))
  }

  /** The fold's state of a group; null deletes it. */
  state(group_id: string, state: { closed?: string; slots: Record<string, { sampled_id: string }> } | null): this {
    const value = state === null ? null : toJson({ state_version: 1, state })
    this.#append(changelogTopic(FOLD), partitionOf(group_id, PARTITIONS), { key: group_id, headers: [], value })
    return this
  }

  dead(group_id: string, ce_id: string): this {
    const value = toJson({
      processor: FOLD,
      failure: 'bug',
      topic: completionsSampled.type,
      partition: partitionOf(group_id, PARTITIONS),
      offset: '0',
      error: 'told by the test',
      ce_id,
      ce_type: completionsSampled.type,
      rows: 1,
      key: group_id,
      headers: [],
      value_base64: null,
    })
    this.#append(DEAD_LETTERS_TOPIC, partitionOf(group_id, PARTITIONS), { key: group_id, headers: [], value })
    return this
  }

  /** form-groups has read the completions up to here. */
  read(partition: number, next: bigint): this {
    this.positions.push({ topic: completionsSampled.type, partition, next })
    return this
  }
}

/** The completions of a scored event under a custom reward. */
export function rescored(
  story: Story,
  group: string,
  rewards: readonly number[],
  indices: readonly number[] = rewards.map((_, row) => row),
  more: Pick<Event, 'before_rules'> = {},
): Story {
  const rows: DataOf<typeof completionsRescored> = rewards.map((reward, row) => ({
    group_id: group,
    completion_index: indices[row] as number,
    attempt_id: 'a1',
    sampled_id: `sampled-${group}`,
    scored_id: `scored-${group}`,
    reward,
    reward_components: {},
    reward_name: 'mine',
    reward_version: 1,
    source_sha256: 'a'.repeat(64),
    dialect: 'prime_rl',
  }))
  const event = eventOf(completionsRescored, `rescored-${group}`, group, rows)
  return story.event(completionsRescored, { ...event, ...more })
}

const image = {
  sha256: 'a'.repeat(64),
  bytes: 10,
  media_type: 'image/png',
  width: 256,
  height: 256,
  pixels_sha256: 'b'.repeat(64),
}

function requestData(group_id: string, group_size: number, text: string): RowOfEvent<typeof rolloutRequested> {
  return {
    group_id,
    origin: 'tower',
    task: 'x_only',
    policy_role: 'policy',
    group_size,
    seed: '1',
    round: 0,
    purpose: 'train',
    prompt: { text, sha256: 'c'.repeat(64), variant: 'plain' },
    ...startAt({
      scene_id: `scene-${group_id}`,
      dataset: 'side_block',
      split: 'train',
      seed: '1',
      index: 0,
      height: 2,
      blocks: [{ x: 0, y: 0.125, z: 0, edge: 0.25, colour: [1, 2, 3] }],
      moved_block: 0,
      image,
      offset_world: 0.3,
      offset_units: 300,
      com_margin_world: 0.1,
      is_stable: true,
      optimal_move: { dx_units: -300, dy_units: 0 },
      unit: 0.001,
      simulator_version: 'test',
      content_key: 'k',
    }),
    sampling: { temperature: null, top_p: null, top_k: null, max_tokens: null, stop: [] },
    deadline: { clock: 'virtual', time: TIME },
  }
}

const TOKENS = {
  finish_reason: null,
  prompt_token_ids: null,
  token_ids: [1, 2, 3],
  completion_mask: [1, 1, 1],
  logprobs: [-0.5, -0.25, -1],
  logprobs_kind: 'raw' as const,
  token_policy_version: [3, 3, 4],
  turn_index: null,
  trainable: false,
}

function sampledRow(
  group_id: string,
  completion_index: number,
  attempt_id: string,
): RowOfEvent<typeof completionsSampled> {
  return {
    group_id,
    completion_index,
    attempt_id,
    policy: 'random-legal',
    text: `<answer>${completion_index}</answer>`,
    ...TOKENS,
    temperature: 1,
    top_p: null,
    top_k: null,
    max_tokens: null,
    stop: [],
    ...NO_MODEL,
    seed: null,
  }
}

function scoredRow(
  group_id: string,
  completion_index: number,
  reward: number,
  sampled_id: string,
): RowOfEvent<typeof completionsScored> {
  return {
    group_id,
    completion_index,
    attempt_id: 'a1',
    sampled_id,
    scene_id: `scene-${group_id}`,
    task: 'x_only',
    answer: String(completion_index),
    parse_error: null,
    dx: completion_index,
    dy: null,
    placed: { x: 0.5, y: 1 },
    settled: null,
    outcome: 'stable',
    distance_world: 0.1,
    reward,
    reward_components: { base: reward, extra: 0 },
    reward_name: 'paper',
    reward_version: 1,
    physics_engine: 'test',
    physics_version: '1',
    scorer_error: null,
  }
}

function formedRow(
  group_id: string,
  completion_index: number,
  reward: number,
  rewards: readonly number[],
  sampled_id: string,
): RowOfEvent<typeof groupFormed> {
  const mean = rewards.reduce((sum, value) => sum + value, 0) / rewards.length
  return {
    group_id,
    completion_index,
    attempt_id: 'a1',
    sampled_id,
    origin: 'tower',
    task: 'x_only',
    group_size: rewards.length,
    purpose: 'train',
    start_id: `scene-${group_id}`,
    prompt_sha256: 'c'.repeat(64),
    images: [image],
    policy: 'random-legal',
    text: `<answer>${completion_index}</answer>`,
    ...TOKENS,
    outcome: 'stable',
    reward,
    reward_name: 'paper',
    advantage: reward - mean,
    dialect: 'prime_rl',
    reward_mean: mean,
    reward_std: 1,
    zero_variance: rewards.every((value) => value === rewards[0]),
    policy_version_oldest: 3,
    policy_version_newest: 4,
    lineage: null,
  }
}
