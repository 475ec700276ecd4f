import { literal } from '../../../schemas/derive/sql-quoting.ts'
import { FEED_SOURCES } from '../../../schemas/events/training.ts'
import { derived } from './derived.ts'

/*
 * Table expressions of the views on training. See `derived.ts` for why they are no CTEs.
 *
 * A group is one `rollout.group_formed`, which training events name by partition and offset. The group's id is part of
 * every join: a query for one group then reads only that group of every table.
 */

/** An event's rows that the feed has written. Another program's would break the numbers that the order follows from. */
export const fed = (type: string): string => `(FROM ${type} WHERE starts_with(ce_source, ${literal(FEED_SOURCES)}))`

/** The only subscription of each consumer, and whether it has retired. */
export const SUBSCRIBED = `(
      SELECT subscribed.consumer, any_value(subscribed."filter") AS "filter", any_value(subscribed.start) AS start,
        any_value(retired.consumer) IS NOT NULL AS retired
      FROM ${fed('training.consumer_subscribed')} AS subscribed
      LEFT JOIN ${fed('training.consumer_retired')} AS retired ON retired.consumer = subscribed.consumer
      GROUP BY subscribed.consumer
    )`

/**
 * Formed groups. These columns are the same in every row of a group. They are named, because DuckDB reads every column
 * of the right side of some anti joins.
 */
export const FORMED_GROUPS = `(
      SELECT group_id, log_partition, log_offset, origin, task, purpose, dialect, reward_name, reward_mean,
        zero_variance, policy_version_oldest, lineage
      FROM ${derived('rollout.group_formed')}
      WHERE "row" = 0
    )`

/** Every consumer with every formed group, and whether its subscription `matches` it. A subscription lists all partitions. */
export const OFFERED = `(
      SELECT wanted.consumer, wanted.retired, formed.group_id, formed.log_partition, formed.log_offset,
        formed.policy_version_oldest, formed.lineage, formed.reward_mean,
        formed.log_offset >= wanted.start."offset"
          AND coalesce(formed.origin = wanted."filter".origin, true)
          AND coalesce(formed.task = wanted."filter".task, true)
          AND coalesce(formed.dialect = wanted."filter".dialect, true)
          AND coalesce(formed.reward_name = wanted."filter".reward_name, true)
          AND (
            wanted."filter".lineages IS NULL
            OR coalesce(list_contains(wanted."filter".lineages, formed.lineage), false)
          )
          AND (
            wanted."filter".purposes IS NULL
            OR coalesce(list_contains(wanted."filter".purposes, formed.purpose), false)
          )
          AND NOT (wanted."filter".with_variance AND formed.zero_variance) AS matches
      FROM ${FORMED_GROUPS} AS formed
      JOIN (
        SELECT consumer, retired, "filter", unnest(start) AS start FROM ${SUBSCRIBED}
      ) AS wanted ON wanted.start."partition" = formed.log_partition
    )`

/** By consumer and partition, the offsets that left the log before their groups were given to the consumer. */
export const EXPIRED = `(
      SELECT consumer, "partition", list({ first_offset: first_offset, until_offset: until_offset }) AS ranges
      FROM ${fed('training.offsets_expired')}
      GROUP BY consumer, "partition"
    )`

/** Each event that names groups, what it tells of them, and which columns it has besides those of all. */
const TELLING = [
  ['groups_leased', "CASE WHEN lease IS NULL THEN 'numbered' ELSE 'leased' END", ['rank']],
  ['lease_ended', "'ended'", ['rank']],
  ['step_begun', "'begun'", ['rank', 'step']],
  ['groups_applied', "'applied'", ['rank', 'step']],
  ['groups_dropped', "'dropped'", ['reason']],
  ['checkpoint_saved', "'saved'", ['checkpoint']],
  ['rolled_back', "'rolled_back'", []],
] as const

/** What happened to groups: a row for each group that a training event names. */
export const HAPPENED = `(${TELLING.map(
  ([event, happened, more]) => `
        SELECT ${['consumer, group_id, "partition", "offset", number, ce_time, run, epoch, sequence', ...more].join(', ')},
          ${happened} AS happened
        FROM ${fed(`training.${event}`)}`,
).join(`
        UNION ALL BY NAME`)}
      )`
