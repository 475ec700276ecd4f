import type { DataOf } from '../../schemas/declare/event.ts'
import type { ImageRef } from '../../schemas/declare/logical-types.ts'
import type { groupFormed } from '../../schemas/events/rollout.ts'
import { advantagesOf, type Dialect, statisticsOf } from './advantages.ts'
import type { Group, Sampled, Slot } from './group.ts'

type FormedRow = DataOf<typeof groupFormed>[number]

/**
 * The rows of a complete group, by completion index. Each has the data that a trainer needs and the group's statistics.
 */
export function formedRows(group: Group, dialect: Dialect): FormedRow[] {
  const { request } = group
  if (request === undefined) throw new Error(`group ${group.group_id} has no request and cannot form`)
  const slots = Array.from({ length: request.group_size }, (_, index) => scored(group, index))
  const rewards = slots.map((slot) => slot.score.reward)
  const { mean, std, zero_variance } = statisticsOf(rewards)
  const advantages = advantagesOf(rewards, dialect)
  const versions = slots.flatMap((slot) => sampledOf(slot).token_policy_version ?? [])
  const lineages = new Set(slots.map((slot) => sampledOf(slot).lineage))
  return slots.map((slot, index) => {
    const sampled = sampledOf(slot)
    return {
      group_id: group.group_id,
      completion_index: index,
      attempt_id: group.attempt_id ?? '',
      sampled_id: slot.sampled_id,
      origin: request.origin,
      task: request.task,
      group_size: request.group_size,
      purpose: request.purpose,
      start_id: request.start_id,
      prompt_sha256: request.prompt_sha256,
      images: request.images as ImageRef[],
      policy: sampled.policy,
      text: sampled.text,
      finish_reason: sampled.finish_reason,
      prompt_token_ids: sampled.prompt_token_ids,
      token_ids: sampled.token_ids,
      completion_mask: sampled.completion_mask,
      logprobs: sampled.logprobs,
      logprobs_kind: sampled.logprobs_kind,
      token_policy_version: sampled.token_policy_version,
      turn_index: sampled.turn_index,
      trainable: sampled.trainable,
      outcome: slot.score.outcome,
      reward: slot.score.reward,
      reward_name: slot.score.reward_name,
      advantage: advantages[index] as number,
      dialect,
      reward_mean: mean,
      reward_std: std,
      zero_variance,
      policy_version_oldest: versions.length === 0 ? null : versions.reduce((a, b) => Math.min(a, b)),
      policy_version_newest: versions.length === 0 ? null : versions.reduce((a, b) => Math.max(a, b)),
      // Versions of two lineages cannot be compared, so the lineage of a mixed group is null.
      lineage: lineages.size === 1 ? sampled.lineage : null,
    }
  })
}

interface ScoredSlot extends Slot {
  score: NonNullable<Slot['score']> & { outcome: string; reward: number }
}

function scored(group: Group, index: number): ScoredSlot {
  const slot = group.slots[index]
  if (slot?.score?.reward == null || slot.score.outcome === null) {
    throw new Error(`group ${group.group_id} cannot form: completion ${index} has no score`)
  }
  return slot as ScoredSlot
}

function sampledOf(slot: Slot): Sampled {
  return slot.row as unknown as Sampled
}
