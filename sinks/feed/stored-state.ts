import { z } from 'zod'
import { consumerSubscribed } from '../../schemas/events/training.ts'
import { rowCheckOf } from '../../schemas/wire/validation.ts'
import type { Checkpoint, RankState, RunState, Subscription } from './consumer-parts.ts'
import type { Fork } from './lineages.ts'
import type { NumberedGroup, OpenGroup } from './open-groups.ts'

/**
 * The version of `StoredState` and of the fold that leads to it. Raise it when the same events lead to another state:
 * states of other versions are not restored, and the history is read instead.
 */
export const STATE_VERSION = 2

/** A consumer's state as it is stored, in JSON. Lists are in the order in which the state has them. */
export interface StoredState {
  readonly name: string
  /** Of the last event in it. */
  readonly number: number
  readonly subscription: Subscription | null
  readonly retired: string | null
  readonly next_sequence: number
  readonly last_lease: number
  readonly durable: number
  readonly dropped: number
  readonly run: RunState | null
  readonly broken_step: number | null
  readonly checkpoints: readonly Checkpoint[]
  readonly epochs: readonly (readonly [attempt: string, epoch: number])[]
  readonly runs: readonly string[]
  readonly saved_runs: readonly string[]
  readonly ranks: readonly (readonly [rank: number, state: RankState])[]
  readonly lineages: readonly (readonly [lineage: string, fork: Fork | null])[]
  /** By partition. */
  readonly drawn: readonly (readonly [partition: number, offset: number])[]
  readonly open: readonly OpenGroup[]
  readonly parts: readonly NumberedGroup[]
  readonly dropped_lately: readonly number[]
  readonly gone: readonly string[]
}

const whole = z.int().nonnegative()
const texts = z.array(z.string())

const numberedFields = {
  ...{ sequence: whole, topic_id: z.string(), partition: whole, offset: whole, group_id: z.string() },
  ...{ policy_version_oldest: z.int().nullable(), lineage: z.string().nullable(), bytes: whole },
}
const numbered = z.strictObject(numberedFields)
const open = z.strictObject({
  ...numberedFields,
  state: z.enum(['waiting', 'leased', 'applied']),
  lease: z.strictObject({ lease: whole, rank: whole }).optional(),
  begun_in: whole.optional(),
  applied_in: whole.optional(),
})
const run = z.strictObject({
  ...{ run: z.string(), epoch: whole, attempt: z.string(), world_size: whole, lineage: z.string() },
  ...{ checkpoint: z.string().nullable(), step: whole },
})
const checkpoint = z.strictObject({
  ...{ checkpoint: z.string(), parent: z.string().nullable(), run: z.string(), epoch: whole, step: whole },
  ...{ lineage: z.string(), policy_version: z.int().nullable(), weights_sha256: z.string() },
  groups: z.array(numbered),
})
const rank = z.strictObject({
  ...{ begun: whole, groups: z.array(whole), applied: whole },
  ...{ request: z.string().optional(), lease: whole.optional() },
})

/** Refuses what is no stored state of this version. */
export const storedState: z.ZodType<StoredState> = z.strictObject({
  ...{ name: z.string(), number: whole, subscription: rowCheckOf(consumerSubscribed.row).nullable() },
  ...{ retired: z.string().nullable(), next_sequence: whole, last_lease: whole, durable: whole, dropped: whole },
  ...{ run: run.nullable(), broken_step: whole.nullable(), checkpoints: z.array(checkpoint) },
  ...{ epochs: z.array(z.tuple([z.string(), whole])), runs: texts, saved_runs: texts },
  ranks: z.array(z.tuple([whole, rank])),
  lineages: z.array(
    z.tuple([z.string(), z.strictObject({ lineage: z.string(), version: z.int().min(-1) }).nullable()]),
  ),
  ...{ drawn: z.array(z.tuple([whole, whole])), open: z.array(open), parts: z.array(numbered) },
  ...{ dropped_lately: z.array(whole), gone: texts },
}) as unknown as z.ZodType<StoredState>
