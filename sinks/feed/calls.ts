import { z } from '@hono/zod-openapi'
import { PURPOSES } from '../../schemas/events/rollout.ts'
import { CONSUMER_NAME, ORDERS, TRAINER_REASONS, WITHOUT_VERSION } from '../../schemas/events/training.ts'
import { MOST_LEASED } from './decide/lease.ts'
import { DEFAULT_SUBSCRIPTION } from './subscription.ts'

/** The bodies and answers of the feed's calls. `docs/feed.md` lists them. */

const id = z.string().min(1).max(256)
const whole = z.int().min(0)
const sequences = z.array(whole).max(65_536)
const caller = { epoch: z.int().min(1), rank: whole.max(65_535) }
const wanted = z.string().min(1).max(1_024).nullable().default(null)

export const ConsumerName = z.string().regex(CONSUMER_NAME)

export const SubscriptionBody = z
  .strictObject({
    filter: z
      .strictObject({
        ...{ origin: wanted, task: wanted, dialect: wanted, reward_name: wanted },
        lineages: z.array(id).max(1_024).nullable().default(null),
        with_variance: z.boolean().default(false),
        purposes: z.array(z.enum(PURPOSES)).min(1).max(PURPOSES.length).optional(),
      })
      .prefault({}),
    start: z.enum(['beginning', 'now']).default('beginning'),
    order: z.enum(ORDERS).default('arrival'),
    order_seed: z.string().max(256).default(''),
    order_window: z.int().min(1).max(65_536).default(1),
    max_staleness: whole.nullable().default(null),
    without_version: z.enum(WITHOUT_VERSION).default('until_published'),
    lease_ms: z.int().min(100).max(86_400_000).default(DEFAULT_SUBSCRIPTION.lease_ms),
    keep_checkpoints: z.int().min(1).max(1_024).default(DEFAULT_SUBSCRIPTION.keep_checkpoints),
  })
  .openapi('Subscription')

export const RetireBody = z.strictObject({ reason: z.string().max(4_096).default('') }).openapi('Retire')

export const RunBody = z
  .strictObject({
    run: id,
    attempt: id,
    world_size: z.int().min(1).max(65_536).default(1),
    resume: id.nullable().default(null),
    lineage: id.nullable().default(null),
  })
  .openapi('Run')

const MIB = 2 ** 20

export const LeaseBody = z
  .strictObject({
    ...caller,
    request: id,
    groups: z.int().min(1).max(MOST_LEASED).default(1),
    bytes: z
      .int()
      .min(1)
      .max(256 * MIB)
      .default(64 * MIB),
    wait_ms: z.int().min(0).max(30_000).default(0),
  })
  .openapi('Lease')

export const HeartbeatBody = z.strictObject(caller).openapi('Heartbeat')

const held = z.strictObject({ sequence: whole, lease: z.int().min(1) })

export const ReleaseBody = z.strictObject({ ...caller, groups: z.array(held).max(65_536) }).openapi('Release')

export const StepBody = z
  .strictObject({
    ...caller,
    step: z.int().min(1),
    groups: z.array(held).min(1).max(MOST_LEASED),
  })
  .openapi('Step')

const measured = z.number().nullable().default(null)

export const ReceiptBody = z
  .strictObject({
    ...caller,
    step: z.int().min(1),
    loss: measured,
    grad_norm: z.number().min(0).nullable().default(null),
    tokens: whole.nullable().default(null),
    seconds: z.number().min(0).nullable().default(null),
    metrics: z.record(z.string().max(256), z.number()).default({}),
  })
  .openapi('Receipt')

export const DropBody = z
  .strictObject({
    ...caller,
    reason: z.enum(TRAINER_REASONS),
    detail: z.string().max(4_096).default(''),
    groups: sequences,
  })
  .openapi('Drop')

export const CheckpointBody = z
  .strictObject({
    epoch: caller.epoch,
    checkpoint: id,
    parent: id.nullable().default(null),
    step: z.int().min(0),
    weights_sha256: id,
    groups: z.array(whole).max(1_048_576),
  })
  .openapi('Checkpoint')

const RunAnswer = z.object({
  run: z.string(),
  epoch: whole,
  attempt: z.string(),
  world_size: whole,
  lineage: z.string(),
  checkpoint: z.string().nullable(),
  step: whole,
})

export const StartedRun = RunAnswer.extend({ lease_ms: whole }).openapi('StartedRun')

export const ConsumerAnswer = z
  .object({
    consumer: z.string(),
    subscription: z.record(z.string(), z.unknown()).nullable(),
    retired: z.string().nullable(),
    run: RunAnswer.nullable(),
    next_sequence: whole,
    counts: z.object({
      numbered: whole,
      leased: whole,
      applied: whole,
      durable: whole,
      dropped: whole,
      expired: whole,
    }),
    checkpoints: z.array(z.object({ checkpoint: z.string(), run: z.string(), step: whole })),
    behind: whole,
  })
  .openapi('Consumer')

export const Refused = z
  .object({ error: z.string(), message: z.string(), groups: z.array(whole).optional() })
  .loose()
  .openapi('Refused')

/** An answer that counts one thing. */
export const counted = (name: string) => z.object({ [name]: whole })
