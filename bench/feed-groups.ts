import { createHash } from 'node:crypto'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/port/log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import type { Event } from '../schemas/declare/event.ts'
import { groupFormed } from '../schemas/events/rollout.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { PARTITIONS } from './tower-log.ts'

const PROMPT_TOKENS = 64
const MOST_TEXT = 4_096

/** A group whose policy gave every column of tokens; no two are alike. */
function formed(at: number, completions: number, tokens: number): Event<typeof groupFormed> {
  const group_id = createHash('sha256').update(`bench group ${at}`).digest('hex')
  const time = new Date(Date.UTC(2026, 0, 1) + at * 1_000).toISOString()
  const numbersOf = (length: number, value: (n: number) => number) => Array.from({ length }, (_, n) => value(n))
  const data = Array.from({ length: completions }, (_, completion_index) => {
    const seed = at * completions + completion_index
    const token = (n: number) => Math.imul(seed * 8_191 + n, 2_654_435_761) >>> 15
    return {
      ...{ group_id, completion_index, attempt_id: 'a', sampled_id: `s-${group_id}`, origin: 'tower', task: 'x_only' },
      ...{
        group_size: completions,
        purpose: 'train' as const,
        start_id: 'start',
        prompt_sha256: 'p',
        images: [],
        policy: 'bench',
      },
      ...{ text: `${seed} `.repeat(MOST_TEXT).slice(0, Math.min(4 * tokens, MOST_TEXT)), finish_reason: 'stop' },
      prompt_token_ids: numbersOf(tokens === 0 ? 0 : PROMPT_TOKENS, token),
      token_ids: numbersOf(tokens, token),
      completion_mask: numbersOf(tokens, (n) => (n % 16 === 0 ? 0 : 1)),
      logprobs: numbersOf(tokens, (n) => Math.fround(-token(n) / 2 ** 17)),
      logprobs_kind: 'raw' as const,
      token_policy_version: numbersOf(tokens, () => 7),
      turn_index: numbersOf(tokens, (n) => n >> 6),
      ...{ trainable: true, outcome: 'stable', reward: completion_index % 2, reward_name: 'paper' },
      ...{ advantage: (completion_index % 2) - 0.5, dialect: 'paper' as const, reward_mean: 0.5, reward_std: 0.5 },
      ...{ zero_variance: false, policy_version_oldest: 7, policy_version_newest: 7, lineage: 'bench' },
    }
  })
  return {
    ...{ id: `formed-${group_id}`, source: '/processors/form-groups', type: groupFormed.type },
    ...{ version: groupFormed.version, time, clock: 'virtual', key: group_id, causes: [], data },
  }
}

/** Makes the topics, and appends formed groups with their blobs. */
export async function appendGroups(
  log: Log,
  blobs: Pick<Blobs, 'put'>,
  groups: number,
  completions: number,
  tokens: number,
): Promise<void> {
  await log.createTopics(topicsOf(catalogue, [], PARTITIONS))
  const producer = await log.producer({ transactional_id: 'bench' })
  for (let from = 0; from < groups; from += 64) {
    const transaction = producer.begin()
    for (let at = from; at < Math.min(groups, from + 64); at++) {
      const { key, headers, value, blobs: columns } = encodeEvent(groupFormed, formed(at, completions, tokens))
      for (const { bytes, ref } of columns) await blobs.put(bytes, ref.media_type)
      transaction.append(groupFormed.type, partitionOf(key, PARTITIONS), { key, headers, value })
    }
    await transaction.commit()
  }
  await producer.close()
}
