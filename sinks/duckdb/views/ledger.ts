import { EXPIRED, HAPPENED, OFFERED } from './fed.ts'
import type { View } from './view.ts'

/** Of a group that a consumer was given. One that it was not given waits. */
export const GROUP_STATES = ['waiting', 'leased', 'applied', 'durable', 'dropped'] as const

/** The state after each thing that can happen to a group. A step that begins changes none: it may use an applied group again. */
const STATE_AFTER: Readonly<Record<string, (typeof GROUP_STATES)[number]>> = {
  numbered: 'waiting',
  ended: 'waiting',
  rolled_back: 'waiting',
  leased: 'leased',
  applied: 'applied',
  saved: 'durable',
  dropped: 'dropped',
}
const before = (state: string) =>
  Object.entries(STATE_AFTER)
    .filter(([, after]) => after === state)
    .map(([happened]) => `'${happened}'`)
    .join(', ')

/**
 * A row for each group that a training event names. The event with the highest number decides the state. `arg_max` leaves
 * out rows whose value is null. What is older than `waited`, when the group last began to wait, counts no longer.
 */
const NAMED = `(
        SELECT consumer, group_id, "partition", "offset",
          arg_max(happened, number) FILTER (happened <> 'begun') AS happened,
          arg_max(run, number) AS run,
          arg_max(epoch, number) AS epoch,
          max(sequence) AS sequence,
          arg_max(rank, number) AS rank,
          coalesce(max(number) FILTER (happened IN (${before('waiting')})), 0) AS waited,
          max(number) FILTER (step IS NOT NULL) AS stepped,
          arg_max(step, number) AS step,
          arg_max(checkpoint, number) AS checkpoint,
          arg_max(reason, number) AS reason,
          count(*) FILTER (happened = 'leased') AS times_leased,
          count(*) FILTER (happened = 'rolled_back') AS times_rolled_back,
          max(number) FILTER (happened = 'leased') AS leased,
          arg_max(ce_time, number) FILTER (happened = 'leased') AS leased_at,
          max(number) FILTER (happened = 'applied') AS applied,
          arg_max(ce_time, number) FILTER (happened = 'applied') AS applied_at,
          arg_max(ce_time, number) FILTER (happened = 'saved') AS durable_at
        FROM ${HAPPENED}
        GROUP BY consumer, group_id, "partition", "offset"
      )`

/** Of a group that no event names. */
const EXPIRED_UNREAD = `named.happened IS NULL AND coalesce(len(list_filter(
          expired.ranges,
          lambda one: offered.log_offset >= one.first_offset AND offered.log_offset < one.until_offset
        )), 0) > 0`

/**
 * Every group that a consumer's filter matches, or that its events name, with the columns of `ledger`. The state is
 * `left` for what a retired consumer has neither made durable nor dropped.
 */
export const LEDGER_WITH_LEFT = `
    SELECT
      offered.consumer,
      named.run,
      named.epoch,
      offered.group_id,
      CASE
        WHEN ${EXPIRED_UNREAD} THEN 'dropped'
        WHEN offered.retired AND coalesce(named.happened, '') NOT IN (${before('durable')}, ${before('dropped')}) THEN 'left'
        WHEN named.happened IS NULL THEN 'waiting'
        ${GROUP_STATES.map((state) => `WHEN named.happened IN (${before(state)}) THEN '${state}'`).join('\n        ')}
      END AS state,
      named.sequence,
      CASE WHEN named.stepped > named.waited THEN named.step END AS step,
      named.rank,
      CASE WHEN named.happened = 'saved' THEN named.checkpoint END AS checkpoint,
      CASE
        WHEN named.happened = 'dropped' THEN named.reason
        WHEN ${EXPIRED_UNREAD} THEN 'expired_unread'
      END AS reason,
      coalesce(named.times_leased, 0) AS times_leased,
      coalesce(named.times_rolled_back, 0) AS times_rolled_back,
      offered.policy_version_oldest,
      offered.lineage,
      offered.reward_mean,
      CASE WHEN named.leased > named.waited THEN named.leased_at END AS leased_at,
      CASE WHEN named.applied > named.waited THEN named.applied_at END AS applied_at,
      CASE WHEN named.happened = 'saved' THEN named.durable_at END AS durable_at,
      offered.log_partition,
      offered.log_offset
    FROM ${OFFERED} AS offered
    LEFT JOIN ${NAMED} AS named
      ON named.group_id = offered.group_id
      AND named.consumer = offered.consumer
      AND named."partition" = offered.log_partition
      AND named."offset" = offered.log_offset
    LEFT JOIN ${EXPIRED} AS expired
      ON expired.consumer = offered.consumer
      AND expired."partition" = offered.log_partition
    WHERE offered.matches OR named.happened IS NOT NULL`

export const ledger: View = {
  name: 'ledger',
  about: 'One row per training consumer and group that it trains on: what became of the group, by its last event.',
  columns: {
    consumer: 'who trains',
    run: 'of the last event about the group; null before the first',
    epoch: 'which start or resume of the consumer; null as run',
    group_id: 'the completions of one prompt share it',
    state:
      'waiting, leased, applied, durable or dropped. A retired consumer has rows of durable and dropped groups alone',
    sequence: "the group's number within the consumer; null until it has one",
    step: 'optimiser step that a rank last began with the group; null since the group waits',
    rank: 'that the group was last numbered for or leased to; null before',
    checkpoint: 'that made it durable; null in other states',
    reason: 'why it was dropped; null in other states',
    times_leased: 'how often it was given to a rank',
    times_rolled_back: 'how often a run resumed from before it',
    policy_version_oldest: 'over the tokens of the group; null for a scripted policy',
    lineage: 'the training run that the policy versions count in',
    reward_mean: 'over the group',
    leased_at: 'when it was last given to a rank; null since it waits',
    applied_at: 'when the receipt of its step came; null since it waits',
    durable_at: 'when its checkpoint was saved; null in other states',
    log_partition: 'of its rollout.group_formed',
    log_offset: 'of its rollout.group_formed',
  },
  sql: `FROM (${LEDGER_WITH_LEFT}
    ) WHERE state IS DISTINCT FROM 'left'`,
}
