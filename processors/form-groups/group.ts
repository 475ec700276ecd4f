import { z } from 'zod'
import type { RowOfEvent } from '../../schemas/event.ts'
import type { completionsSampled } from '../../schemas/policy.ts'
import type { rolloutRequested } from '../../schemas/rollout.ts'
import type { Cause, Deadline } from '../processor.ts'

export type Requested = RowOfEvent<typeof rolloutRequested>
export type Sampled = RowOfEvent<typeof completionsSampled>

const cause = z.object({
  id: z.string(),
  time: z.string(),
  clock: z.enum(['virtual', 'wall']),
  correlation: z.string().optional(),
}) as z.ZodType<Cause>

const request = z.object({
  cause,
  group_size: z.int(),
  origin: z.string(),
  task: z.string(),
  scene_id: z.string(),
  prompt_sha256: z.string(),
  images: z.array(z.unknown()),
  deadline: z.object({ clock: z.enum(['virtual', 'wall']), time: z.string() }),
})

/** What a group keeps of a score; null reward: the scorer failed. */
const score = z.object({
  cause,
  outcome: z.string().nullable(),
  reward: z.number().nullable(),
  reward_name: z.string(),
  scorer_error: z.string().nullable(),
})

const slot = z.object({
  sampled_id: z.string(),
  cause,
  /** The sampled row. */
  row: z.record(z.string(), z.unknown()),
  score: score.optional(),
})

/** What is known of one group. `plumbline sql`'s funnel reads `closed` and `slots` from here: they are a contract. */
export const groupState = z.object({
  group_id: z.string(),
  request: request.optional(),
  /** The attempt of the first completion: the only one this group takes. */
  attempt_id: z.string().optional(),
  /** By completion index. */
  slots: z.record(z.string(), slot),
  /** Scores that came before the completion they belong to, by `sampled_id/index`. */
  early_scores: z.record(z.string(), score),
  /** Completions turned away while the group is open, as `sampled_id/index`: their scores are ignored. */
  rejected: z.array(z.string()),
  closed: z.enum(['formed', 'expired']).optional(),
  /** Events whose completions had their fate when the group closed: the same event again is not another completion. */
  settled: z.array(z.string()).optional(),
  /** When an answer that never gets its request, or (housekeeping) the memory of a closed group, is given up. */
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

/** State version 1 held a request's clock beside its deadline, as rollout.requested v1 did. */
export function fromVersion1(state: unknown): unknown {
  const { request, ...group } = state as { request?: { clock: string; deadline: string } }
  if (request === undefined) return group
  const { clock, deadline, ...rest } = request
  return { ...group, request: { ...rest, deadline: { clock, time: deadline } } }
}

/** How long a closed group is remembered to turn away what still comes, and an answer waits for its request. Inferred. */
export const MEMORY_MS = 7 * 24 * 3_600_000

export function later(deadline: Deadline, by_ms: number): Deadline {
  return { clock: deadline.clock, time: new Date(Date.parse(deadline.time) + by_ms).toISOString() }
}

export const slotKey = (sampled_id: string, completion_index: number) => `${sampled_id}/${completion_index}`

/** The events of every completion that an open group holds or has turned away. */
export function sampledIdsOf({ slots, rejected }: Group): string[] {
  const held = Object.values(slots).map(({ sampled_id }) => sampled_id)
  return [...new Set([...held, ...rejected.map((key) => key.slice(0, key.lastIndexOf('/')))])]
}

/** Indices of 0 … group_size − 1 that have no scored completion yet. */
export function missingOf(group: Group): number[] {
  const size = group.request?.group_size ?? 0
  return Array.from({ length: size }, (_, index) => index).filter((index) => group.slots[index]?.score === undefined)
}
