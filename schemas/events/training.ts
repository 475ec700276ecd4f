import { defineEvent, type EventType } from '../declare/event.ts'
import { ID, NOT_NEGATIVE, TEXT } from '../declare/limits.ts'
import { bool, float64, int32, int64, list, mapOf, nullable, oneOf, struct, utf8 } from '../declare/logical-types.ts'
import { PURPOSES } from './rollout.ts'

/**
 * What a training consumer was given and what it did with it; `docs/feed.md` has the meaning. The key of all of them is
 * the consumer, and `number` is their order across topics.
 */

/** The `ce_source` of all of them, which the feed writes and views read; the consumer follows. */
export const FEED_SOURCES = '/feed/'

export const CONSUMER_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/

export const ORDERS = ['arrival', 'shuffled'] as const
export const LEASE_ENDS = ['expired', 'released', 'fenced'] as const
const DROP_REASONS_V1 = [
  'stale',
  'other_lineage',
  'no_version',
  'unsupported_token',
  'expired_unread',
  'by_consumer',
] as const
export const DROP_REASONS = [...DROP_REASONS_V1, 'no_variance'] as const
/** Those that a trainer may give. */
export const TRAINER_REASONS = ['by_consumer', 'unsupported_token', 'no_variance'] as const
/** Where a group was before a roll-back; a leased one has its lease ended instead. */
export const ROLLED_BACK_FROM = ['applied', 'durable'] as const
export const WITHOUT_VERSION = ['until_published', 'always'] as const

const ids = {
  consumer: utf8(ID, 'who trains; letters, digits, dot, dash and underscore'),
  number: int64({ min: 1 }, "counts this consumer's training events from 1, without gaps, over all topics"),
}
const runs = {
  run: utf8(ID, 'one training run of the consumer'),
  epoch: int64({ min: 1 }, 'counts the starts and resumes of the consumer; an older epoch is refused'),
}
const groupPlace = {
  topic_id: utf8(ID, 'of the rollout.group_formed topic that the offset counts in; empty where a log has no ids'),
  partition: int32(NOT_NEGATIVE, 'of rollout.group_formed'),
  offset: int64(NOT_NEGATIVE, 'of rollout.group_formed'),
  group_id: utf8(ID),
}
const sequence = int64(NOT_NEGATIVE, "the group's number within the consumer, given once and kept through roll-backs")
const rank = int32(NOT_NEGATIVE, 'of world_size; it is given the groups whose sequence ≡ rank')
const step = int64(NOT_NEGATIVE, 'optimiser step within the run and epoch')
/** What decides whether and how a group is given out, so that the group need not be read for it. */
const groupFields = {
  ...groupPlace,
  policy_version_oldest: nullable(int64('over the tokens of the group')),
  lineage: nullable(utf8(ID, 'training run that the version counts in')),
  bytes: int64(NOT_NEGATIVE, 'of the record of the group, and of its columns that are in blobs'),
}

const firstFilterFields = {
  origin: nullable(utf8(ID)),
  task: nullable(utf8(ID)),
  dialect: nullable(utf8(ID)),
  reward_name: nullable(utf8(ID)),
  lineages: nullable(list(utf8(ID), { max_length: 1_024 }, 'groups of these lineages only')),
  with_variance: bool('whether groups without variance, which have no gradient, are left out'),
}
/** Which groups a consumer trains on; null: any. */
export const filterFields = {
  ...firstFilterFields,
  purposes: nullable(
    list(oneOf(PURPOSES), { max_length: PURPOSES.length }, 'null: any, as all subscriptions before this field'),
  ),
}
const subscribedFields = {
  topic_id: groupPlace.topic_id,
  start: list(
    struct({ partition: int32(NOT_NEGATIVE), offset: int64(NOT_NEGATIVE, 'of the first group that counts') }),
    { max_length: 10_000 },
  ),
  formed_before: list(
    struct({ partition: int32(NOT_NEGATIVE), offset: int64(NOT_NEGATIVE, 'the end when it subscribed') }),
    { max_length: 10_000 },
    'groups below were formed before: their order is the same for every run',
  ),
  order: oneOf(ORDERS),
  order_seed: utf8(ID, 'of the shuffle'),
  order_window: int32({ min: 1, max: 65_536 }, 'how many groups are shuffled together'),
  max_staleness: nullable(int64(NOT_NEGATIVE, 'null: no limit')),
  without_version: oneOf(WITHOUT_VERSION, 'until when groups without a policy version are trained on'),
  lease_ms: int32({ min: 100, max: 86_400_000 }, 'how long a silent rank keeps its groups'),
  keep_checkpoints: int32({ min: 1, max: 1_024 }, 'how many of the last checkpoints can be resumed'),
  transport: oneOf(['http', 'kafka']),
}

export const consumerSubscribed = defineEvent({
  type: 'training.consumer_subscribed',
  version: 2,
  key: 'consumer',
  encoding: 'json',
  retention: 'ledger',
  about: 'A consumer subscribes to the groups that match its filter.',
  row: { ...ids, filter: struct(filterFields), ...subscribedFields },
  earlier: [
    {
      version: 1,
      row: { ...ids, filter: struct(firstFilterFields), ...subscribedFields },
      upcast: ({ filter, ...row }) => ({ ...row, filter: { ...(filter as object), purposes: null } }),
    },
  ],
})

export const consumerRetired = defineEvent({
  type: 'training.consumer_retired',
  version: 1,
  key: 'consumer',
  encoding: 'json',
  retention: 'ledger',
  about: 'A consumer takes no more groups; what it has not made durable is its no longer.',
  row: { ...ids, reason: utf8(TEXT) },
})

export const runStarted = defineEvent({
  type: 'training.run_started',
  version: 1,
  key: 'consumer',
  encoding: 'json',
  retention: 'ledger',
  about: 'A run of a consumer starts or resumes: a new epoch, which fences every earlier one.',
  row: {
    ...ids,
    ...runs,
    attempt: utf8(ID, 'which start of the trainer; every rank of it names the same'),
    world_size: int32({ min: 1, max: 65_536 }, 'how many ranks'),
    lineage: utf8(ID, 'that the models of this run are published in'),
    forked_from: nullable(
      struct(
        { lineage: utf8(ID), version: int64({ min: -1 }, 'the last one of that lineage that counts; −1: none') },
        'null: the lineage has no parent',
      ),
    ),
    checkpoint: nullable(utf8(ID, 'that it resumes from; null: from nothing')),
    step: int64(NOT_NEGATIVE, 'of that checkpoint; 0 without one'),
  },
})

export const groupsLeased = defineEvent({
  type: 'training.groups_leased',
  version: 1,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'Groups are given to a rank, or numbered for the rank that will be given them.',
  row_key: ['sequence'],
  row: {
    ...ids,
    ...runs,
    rank,
    lease: nullable(int64({ min: 1 }, 'fencing token; null: numbered, and not given to its rank yet')),
    request: utf8(ID, 'a repeated request is answered with the same lease'),
    sequence,
    ...groupFields,
  },
})

export const leaseEnded = defineEvent({
  type: 'training.lease_ended',
  version: 1,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'Leased groups wait again.',
  row_key: ['sequence'],
  row: { ...ids, ...runs, rank, lease: int64({ min: 1 }), reason: oneOf(LEASE_ENDS), sequence, ...groupPlace },
})

export const stepBegun = defineEvent({
  type: 'training.step_begun',
  version: 1,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'The leases and the staleness of these groups were checked, and a rank trains on them now.',
  row_key: ['sequence'],
  row: { ...ids, ...runs, rank, step, lease: int64({ min: 1 }), sequence, ...groupPlace },
})

export const groupsApplied = defineEvent({
  type: 'training.groups_applied',
  version: 1,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'A rank has taken an optimiser step on these groups: provisional, until a checkpoint contains them.',
  row_key: ['sequence'],
  row: { ...ids, ...runs, rank, step, sequence, ...groupPlace },
})

const droppedFields = {
  ...ids,
  ...runs,
  reason: oneOf(DROP_REASONS),
  detail: utf8(TEXT, 'what was found, and what was expected'),
  sequence: nullable(int64(NOT_NEGATIVE, 'null: dropped before it was numbered')),
  ...groupPlace,
}

export const groupsDropped = defineEvent({
  type: 'training.groups_dropped',
  version: 2,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'Groups are not trained on, for a stated reason.',
  row_key: ['partition', 'offset'],
  row: droppedFields,
  earlier: [{ version: 1, row: { ...droppedFields, reason: oneOf(DROP_REASONS_V1) } }],
})

export const offsetsExpired = defineEvent({
  type: 'training.offsets_expired',
  version: 1,
  key: 'consumer',
  encoding: 'json',
  retention: 'ledger',
  about:
    'Groups left the log before the consumer was given them: those at these offsets that match are expired_unread.',
  row: {
    ...ids,
    ...runs,
    topic_id: groupPlace.topic_id,
    partition: groupPlace.partition,
    first_offset: int64(NOT_NEGATIVE, 'that the consumer would have been given next'),
    until_offset: int64({ min: 1 }, 'the first that is left'),
  },
})

export const stepCompleted = defineEvent({
  type: 'training.step_completed',
  version: 1,
  key: 'consumer',
  encoding: 'json',
  retention: 'ledger',
  about: 'What a rank measured in an optimiser step.',
  row: {
    ...ids,
    ...runs,
    rank,
    step,
    groups: int32(NOT_NEGATIVE, 'that this rank has trained on in the step'),
    loss: nullable(float64()),
    grad_norm: nullable(float64(NOT_NEGATIVE)),
    tokens: nullable(int64(NOT_NEGATIVE)),
    seconds: nullable(float64(NOT_NEGATIVE)),
    metrics: mapOf(float64(), { max_length: 4_096 }),
  },
})

export const checkpointSaved = defineEvent({
  type: 'training.checkpoint_saved',
  version: 1,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'A checkpoint is stored that contains exactly these groups since its parent: they are durable.',
  row_key: ['sequence'],
  row: {
    ...ids,
    ...runs,
    checkpoint: utf8(ID),
    parent: nullable(utf8(ID, 'null: the first one of the run')),
    step,
    world_size: int32({ min: 1, max: 65_536 }),
    weights_sha256: utf8(ID, 'of the weights, as the trainer hashes them'),
    policy_version: nullable(int64('last one published in the lineage of the run; null: none')),
    parts: int32({ min: 1 }, 'how many events the checkpoint is split over'),
    groups: int32({ min: 1 }, 'in all parts'),
    sequence,
    ...groupPlace,
  },
})

export const rolledBack = defineEvent({
  type: 'training.rolled_back',
  version: 1,
  key: 'consumer',
  encoding: 'arrow',
  retention: 'ledger',
  about: 'A run resumed from an earlier checkpoint: what came after it was learned by no weights that are left.',
  row_key: ['sequence'],
  row: {
    ...ids,
    ...runs,
    checkpoint: nullable(utf8(ID, 'that the run resumes from')),
    was: oneOf(ROLLED_BACK_FROM),
    sequence,
    ...groupFields,
  },
})

/** In the order in which a group meets them. */
export const TRAINING_EVENTS: readonly EventType[] = [
  consumerSubscribed,
  runStarted,
  groupsLeased,
  leaseEnded,
  stepBegun,
  groupsApplied,
  stepCompleted,
  groupsDropped,
  offsetsExpired,
  checkpointSaved,
  rolledBack,
  consumerRetired,
]
