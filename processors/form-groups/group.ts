import { z } from 'zod'
import type { RowOfEvent } from '../../schemas/declare/event.ts'
import type { completionsSampled } from '../../schemas/events/policy.ts'
import { PURPOSE_BEFORE_V3, PURPOSES, type rolloutRequested } from '../../schemas/events/rollout.ts'
import { checkGroupSize } from '../largest-group.ts'
import { causeSchema, type Deadline } from '../processor.ts'

export type Requested = RowOfEvent<typeof rolloutRequested>
export type Sampled = RowOfEvent<typeof completionsSampled>

const request = z.object({
  cause: causeSchema,
  group_size: z.int(),
  origin: z.string(),
  task: z.string(),
  purpose: z.enum(PURPOSES),
  start_id: z.string(),
  prompt_sha256: z.string(),
  images: z.array(z.unknown()),
  deadline: z.object({ clock: z.enum(['virtual', 'wall']), time: z.string() }),
})

/** The part of a score that a group stores; null reward: the scorer failed. */
const score = z.object({
  cause: causeSchema,
  outcome: z.string().nullable(),
  reward: z.number().nullable(),
  reward_name: z.string(),
  scorer_error: z.string().nullable(),
})

const slot = z.object({
  sampled_id: z.string(),
  cause: causeSchema,
  /** The sampled row. */
  row: z.record(z.string(), z.unknown()),
  score: score.optional(),
})

/** The state of one group. The funnel of `plumbline sql` reads `closed` and `slots` from it, so their form is fixed. */
export const groupState = z.object({
  group_id: z.string(),
  request: request.optional(),
  /** The attempt of the first completion: the only one that this group accepts. */
  attempt_id: z.string().optional(),
  /** By completion index. */
  slots: z.record(z.string(), slot),
  /** Scores that arrived before their completion, by `sampled_id/index`. */
  early_scores: z.record(z.string(), score),
  /** Completions rejected while the group is open, as `sampled_id/index`: their scores are ignored. */
  rejected: z.array(z.string()),
  closed: z.enum(['formed', 'expired']).optional(),
  /** Events whose completions already had a fate when the group closed; recognises redelivered events. */
  settled: z.array(z.string()).optional(),
  /** When completions without a request expire, or (housekeeping) when a closed group is forgotten. */
  forget: z
    .object({ clock: z.enum(['virtual', 'wall']), time: z.string(), housekeeping: z.boolean().optional() })
    .optional(),
})

export type Group = z.infer<typeof groupState>
export type Slot = z.infer<typeof slot>
export type Score = z.infer<typeof score>
export type GroupRequest = z.infer<typeof request>

export function emptyGroup(group_id: string): Group {
  return { group_id, slots: {}, early_scores: {}, rejected: [] }
}

/** State version 1 stored a request's clock and deadline as two fields, as rollout.requested v1 did. */
export function fromVersion1(state: unknown): unknown {
  const { request, ...group } = state as { request?: { clock: string; deadline: string } }
  if (request === undefined) return group
  const { clock, deadline, ...rest } = request
  return { ...group, request: { ...rest, deadline: { clock, time: deadline } } }
}

/** State version 2 named the start state of a request as a scene, as rollout.requested v3 did. */
export function fromVersion2(state: unknown): unknown {
  const { request, ...group } = state as { request?: { scene_id: string } }
  if (request === undefined) return group
  const { scene_id, ...rest } = request
  return { ...group, request: { ...rest, start_id: scene_id } }
}

/** State version 3 had no purpose. A group of which half had arrived forms as its event would have before. */
export function fromVersion3(state: unknown): unknown {
  const { request, ...group } = state as { request?: object }
  if (request === undefined) return group
  return { ...group, request: { ...request, purpose: PURPOSE_BEFORE_V3 } }
}

export function later(deadline: Deadline, by_ms: number): Deadline {
  return { clock: deadline.clock, time: new Date(Date.parse(deadline.time) + by_ms).toISOString() }
}

export const slotKey = (sampled_id: string, completion_index: number) => `${sampled_id}/${completion_index}`

/** Ids of the events of every completion that an open group contains or has rejected. */
export function sampledIdsOf({ slots, rejected }: Group): string[] {
  const held = Object.values(slots).map(({ sampled_id }) => sampled_id)
  return [...new Set([...held, ...rejected.map((key) => key.slice(0, key.lastIndexOf('/')))])]
}

/** Whether every index has a scored completion. After its request, an open group has no completion out of range. */
export function isComplete({ request, slots }: Group): boolean {
  if (request === undefined) return false
  const held = Object.values(slots)
  return held.length >= request.group_size && held.every((slot) => slot.score !== undefined)
}

/**
 * Indices in 0 … group_size − 1 without a scored completion.
 * @throws InvariantError when the group is too large to list them
 */
export function missingOf(group: Group): number[] {
  const size = group.request?.group_size ?? 0
  checkGroupSize(size)
  return Array.from({ length: size }, (_, index) => index).filter((index) => group.slots[index]?.score === undefined)
}
