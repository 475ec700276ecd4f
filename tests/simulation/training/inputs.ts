import { random } from '../../../environments/tower/random.ts'
import type { Wanted } from '../../../sinks/feed/decide/subscribe.ts'
import { DEFAULT_SUBSCRIPTION } from '../../../sinks/feed/subscription.ts'
import { pick } from '../../../testing/pick.ts'

export const CONSUMER = 'lab'
export const RUN = 'r1'
export const LINEAGE = `${CONSUMER}/${RUN}`
/** Of the groups that the consumer takes. */
export const TASK = 'x_only'

/** A group that will be formed. Its version is so much older than the last one that is published by then. */
export interface GroupToForm {
  readonly group_id: string
  readonly task: string
  /** Null: of a scripted policy. */
  readonly behind: number | null
}

export interface TrainingInputs {
  readonly partitions: number
  readonly subscription: Wanted
  /** Formed before the consumer subscribes. */
  readonly early: number
  readonly groups: readonly GroupToForm[]
  readonly most_ranks: number
  readonly batch: number
  /** Steps from one checkpoint to the next. */
  readonly every: number
  readonly snapshot_events: number
  /** Whether the trainer publishes its weights with some checkpoints. */
  readonly publishes: boolean
}

export function trainingInputsOf(seed: string): TrainingInputs {
  const draw = random('simulation', 'training inputs', seed)
  const publishes = draw.uniform() < 0.5
  const count = draw.integer(4, 24)
  const groups = Array.from({ length: count }, (_, at): GroupToForm => {
    const behind = publishes && draw.uniform() < 0.8 ? draw.integer(0, 3) : null
    return { group_id: `g${at}`, task: draw.uniform() < 0.1 ? 'other' : TASK, behind }
  })
  const order = pick(draw, ['arrival', 'arrival', 'shuffled'] as const)
  return {
    partitions: draw.integer(1, 3),
    groups,
    early: draw.integer(0, count),
    subscription: {
      ...DEFAULT_SUBSCRIPTION,
      ...{ order, order_seed: seed, order_window: order === 'arrival' ? 1 : draw.integer(2, 4) },
      filter: { ...DEFAULT_SUBSCRIPTION.filter, task: TASK },
      max_staleness: publishes ? draw.integer(0, 2) : null,
      without_version: pick(draw, ['until_published', 'always'] as const),
      lease_ms: draw.integer(400, 2_000),
      keep_checkpoints: draw.integer(1, 3),
    },
    most_ranks: draw.integer(1, 3),
    batch: draw.integer(1, 2),
    every: draw.integer(1, 3),
    snapshot_events: draw.integer(2, 20),
    publishes,
  }
}
