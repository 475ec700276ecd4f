import { createHash } from 'node:crypto'
import { type Random, random } from '../../environments/tower/random.ts'
import type { ClockDomain, Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { startAt } from '../../schemas/events/tower.ts'
import { pick } from '../../testing/pick.ts'
import { example } from '../../testing/test-driver.ts'
import { requested, SCENE, sampledRow } from '../../testing/tower-events.ts'

/** The outcome of a group, which no fault may change. */
export type Bound =
  /** All completions arrive, long before the deadline. */
  | 'forms'
  /** One completion never arrives. */
  | 'expires'
  /** It was never requested. */
  | 'turned away'
  /** It forms or expires: its deadline passes meanwhile, or several completions compete for one index. */
  | 'either'

export interface GroupPlan {
  readonly group_id: string
  readonly size: number
  readonly bound: Bound
  readonly is_requested: boolean
  /** Completion indices for which nothing arrives. */
  readonly missing: readonly number[]
  readonly seed: string
}

export interface Inputs {
  readonly partitions: number
  /** The effect answers requests; otherwise completions come only from a source. */
  readonly has_policy: boolean
  /** A model reads the completions, too: its outputs depend on its batches. */
  readonly has_model: boolean
  readonly groups: readonly GroupPlan[]
  /** Events that sources append, in this order; the same event may occur more than once. */
  readonly events: readonly Event[]
  /** Times of the virtual clock that its source emits meanwhile. */
  readonly ticks: readonly string[]
  /** Whether the last record is unreadable. */
  readonly garbage: boolean
}

/** Share of schedules in which a column of some completions is so large that it is stored in a blob. */
const COLUMNS_SHARE = 0.25
const COLUMN_LENGTH = 16_500

const BASE_MS = Date.parse('2026-01-01T00:00:00.000Z')
const at = (ms: number) => new Date(BASE_MS + ms).toISOString()
export const NEAR_MS = 60_000
const FAR_MS = 6 * 3_600_000
/** At the first time every deadline has passed; at the second all state has been forgotten. */
const DAY_MS = 24 * 3_600_000
export const ENDS: readonly string[] = [at(30 * DAY_MS), at(60 * DAY_MS)]
export const BEYOND_ENDS_MS = 61 * DAY_MS

/** The scorer throws on this text. */
export const UNSCORABLE = 'unscorable'
/** The reward of any other text is the number in it. */
export const rewardOf = (text: string) => Number(/\d+/.exec(text)?.[0] ?? 0)

/** The groups of one schedule and all their input events, in an order drawn from the seed. */
export function inputsOf(seed: string): Inputs {
  const draw = random('simulation', 'inputs', seed)
  const has_policy = draw.uniform() < 0.4
  const groups: GroupPlan[] = []
  const events: Event[] = []
  const count = draw.integer(1, 3)
  const has_columns = random('simulation', 'columns', seed).uniform() < COLUMNS_SHARE
  const columns = has_columns ? { token_ids: Array.from({ length: COLUMN_LENGTH }, (_, at) => at) } : {}
  for (let at = 0; at < count; at++) addGroup(draw, `g${at}`, has_policy, at === 0 ? columns : {}, groups, events)
  const order = draw.uniform() < 0.5 ? draw.shuffled(events) : events
  return {
    partitions: draw.integer(1, 3),
    has_policy,
    groups,
    events: order.flatMap((event) => (draw.uniform() < 0.06 ? [event, event] : [event])),
    ticks: ticksOf(draw),
    garbage: draw.uniform() < 0.1,
    has_model: draw.uniform() < 0.3,
  }
}

function addGroup(
  draw: Random,
  group_id: string,
  has_policy: boolean,
  columns: { readonly token_ids?: number[] },
  groups: GroupPlan[],
  events: Event[],
): void {
  const size = draw.integer(1, 3)
  const is_near = draw.uniform() < 0.3
  const clock: ClockDomain = draw.uniform() < 0.5 ? 'wall' : 'virtual'
  const seed = `seed of ${group_id}`
  const deadline = { clock, time: at(is_near ? (clock === 'wall' ? draw.integer(100, 1_500) : NEAR_MS) : FAR_MS) }
  const request = requested(
    {
      group_id,
      group_size: size,
      seed,
      deadline,
      prompt: { text: group_id, sha256: 'c'.repeat(64), variant: 'plain' },
      ...startAt({ ...SCENE, image: { ...SCENE.image, ...PICTURE } }),
    },
    `request of ${group_id}`,
  )
  const kind = has_policy ? 'answered' : pick(draw, ['regular', 'regular', 'gap', 'unrequested', 'irregular'] as const)
  const gap = kind === 'gap' ? [draw.integer(0, size - 1)] : []
  const is_requested = kind !== 'unrequested'
  if (is_requested) events.push(request as unknown as Event)
  if (kind !== 'answered') {
    const places = Array.from({ length: size }, (_, index) => index).filter((index) => !gap.includes(index))
    const rows = places.map((index) => sampledRow(index, { group_id, text: `r${draw.integer(0, 20)}`, ...columns }))
    const first = draw.integer(1, Math.max(1, rows.length))
    for (const [at, some] of [rows.slice(0, first), rows.slice(first)].entries()) {
      if (some.length > 0) events.push(completions(`${group_id} completions ${at}`, some))
    }
  }
  const is_irregular = kind === 'irregular' || (has_policy && draw.uniform() < 0.2)
  if (is_irregular)
    for (let extra = draw.integer(1, 2); extra > 0; extra--) {
      const row = sampledRow(draw.integer(0, size), {
        group_id,
        attempt_id: pick(draw, ['attempt-1', 'attempt-2']),
        text: draw.uniform() < 0.3 ? UNSCORABLE : `r${draw.integer(0, 20)}`,
      })
      events.push(completions(`${group_id} extra ${extra}`, [row]))
    }
  const bound = !is_requested
    ? 'turned away'
    : is_near || is_irregular
      ? 'either'
      : gap.length > 0
        ? 'expires'
        : 'forms'
  groups.push({ group_id, size, bound, is_requested, missing: gap, seed })
}

function completions(id: string, rows: Parameters<typeof example<typeof completionsSampled>>[1]): Event {
  return example(completionsSampled, rows, { id, time: at(1_000) }) as unknown as Event
}

function ticksOf(draw: Random): Inputs['ticks'] {
  const ticks = Array.from({ length: draw.integer(0, 4) }, () => at(draw.integer(0, 2 * NEAR_MS)))
  // Most clocks only move forward.
  if (draw.uniform() < 0.7) ticks.sort()
  return ticks
}

export const PICTURE_BYTES = Buffer.from('the picture')
const PICTURE = {
  sha256: createHash('sha256').update(PICTURE_BYTES).digest('hex'),
  bytes: PICTURE_BYTES.byteLength,
  media_type: 'image/png',
}
