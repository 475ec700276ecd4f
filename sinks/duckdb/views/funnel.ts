import { REJECTIONS } from '../../../schemas/rollout.ts'
import type { View } from './view.ts'

/**
 * Why each fate is exact although the sink loads while the fold runs (`cycle.ts` says how): state and outputs are at
 * least as new as the published position P of form-groups. A completion that lay before P is therefore in an output,
 * in a dead letter or in the state; one at or after P has not been read as far as we know.
 *
 * `held` and the fold's own outputs come before `duplicate`: an event that the log holds twice makes the fold reject
 * its second copy under the id of the first, which lives on.
 */
const REJECTED: Readonly<Record<(typeof REJECTIONS)[number], string>> = {
  late: 'its group had expired, or nobody asked for it',
  mixed_attempt: 'its group holds another sampling attempt',
  index_out_of_range: 'its group has fewer completions',
  scorer_failed: 'the scorer failed on it',
  duplicate: 'its index was taken',
}
/** A reason that is the completion's own, before `duplicate`, which may be that of a second copy. */
const OWN_REASONS = REJECTIONS.filter((reason) => reason !== 'duplicate')

const FATES: readonly (readonly [fate: string, about: string])[] = [
  ['formed', 'in a formed group'],
  ['expired', 'held by a group whose deadline passed'],
  ...OWN_REASONS.map((reason) => [reason, `rejected: ${REJECTED[reason]}`] as const),
  ['dead', 'form-groups could not take its event, which is a dead letter'],
  ['pending_held', 'in the state of form-groups, waiting for the rest of its group'],
  ['duplicate', `rejected: ${REJECTED.duplicate}`],
  ['pending_unread', 'form-groups has not read it yet'],
  ['lost', 'has no fate: must be 0'],
]

const causes = `
    WITH formed AS (
      SELECT DISTINCT sampled_id, completion_index FROM rollout.group_formed
    ),
    expired AS (
      SELECT DISTINCT one.sampled_id, one.completion_index
      FROM (SELECT unnest(held) AS one FROM rollout.group_expired)
    ),
    rejected AS (
      SELECT sampled_id, completion_index,
        CASE
          ${OWN_REASONS.map((reason) => `WHEN bool_or(reason = '${reason}') THEN '${reason}'`).join('\n          ')}
          ELSE 'duplicate'
        END AS reason
      FROM rollout.completion_rejected
      GROUP BY sampled_id, completion_index
    ),
    dead AS (
      SELECT DISTINCT ce_id FROM internal.dead_letters WHERE processor = 'form-groups' AND ce_id IS NOT NULL
    ),
    held AS (
      SELECT DISTINCT slot.value->>'$.sampled_id' AS sampled_id, slot.key::INTEGER AS completion_index
      FROM internal.state AS kept, json_each(kept.state, '$.slots') AS slot
      WHERE kept.processor = 'form-groups' AND (kept.state->>'$.closed') IS NULL
    )`

export const completionFates: View = {
  name: 'completion_fates',
  about:
    'One row per sampled completion, with its one fate; and one per completion that an outcome names and the sink has not loaded yet (ahead).',
  columns: {
    group_id: 'the group it was sampled for; null when ahead',
    sampled_id: 'ce_id of the policy.completions_sampled that held it',
    completion_index: '0 … group_size − 1',
    fate: 'see funnel',
  },
  sql: `${causes}
    SELECT
      sampled.group_id,
      sampled.ce_id AS sampled_id,
      sampled.completion_index,
      CASE
        WHEN formed.sampled_id IS NOT NULL THEN 'formed'
        WHEN expired.sampled_id IS NOT NULL THEN 'expired'
        WHEN rejected.reason <> 'duplicate' THEN rejected.reason
        WHEN dead.ce_id IS NOT NULL THEN 'dead'
        WHEN held.sampled_id IS NOT NULL THEN 'pending_held'
        WHEN rejected.reason = 'duplicate' THEN 'duplicate'
        WHEN sampled.log_offset >= coalesce(read.next, 0) THEN 'pending_unread'
        ELSE 'lost'
      END AS fate
    FROM policy.completions_sampled AS sampled
    LEFT JOIN formed ON formed.sampled_id = sampled.ce_id AND formed.completion_index = sampled.completion_index
    LEFT JOIN expired ON expired.sampled_id = sampled.ce_id AND expired.completion_index = sampled.completion_index
    LEFT JOIN rejected ON rejected.sampled_id = sampled.ce_id AND rejected.completion_index = sampled.completion_index
    LEFT JOIN dead ON dead.ce_id = sampled.ce_id
    LEFT JOIN held ON held.sampled_id = sampled.ce_id AND held.completion_index = sampled.completion_index
    LEFT JOIN internal.processor_positions AS read
      ON read.processor = 'form-groups' AND read.topic = 'policy.completions_sampled' AND read."partition" = sampled.log_partition
    UNION ALL
    SELECT NULL, named.sampled_id, named.completion_index, 'ahead'
    FROM (
      FROM formed
      UNION FROM expired
      UNION SELECT sampled_id, completion_index FROM rejected
      UNION FROM held
    ) AS named
    ANTI JOIN policy.completions_sampled AS sampled
      ON sampled.ce_id = named.sampled_id AND sampled.completion_index = named.completion_index`,
}

const fateRows = [...FATES, ['ahead', 'named by an outcome, not loaded itself yet: outside the identity']]
  .map(([fate, about], place) => `(${place}, '${fate}', '${about}')`)
  .join(', ')

export const funnel: View = {
  name: 'funnel',
  about:
    'What became of every sampled completion. The fates but `ahead` add up to what was sampled; funnel_check says so.',
  columns: {
    fate: 'one for each completion',
    completions: 'how many have it',
    about: 'what it means',
  },
  sql: `
    SELECT known.fate, count(fates.fate) AS completions, known.about
    FROM (VALUES ${fateRows}) AS known(place, fate, about)
    LEFT JOIN completion_fates AS fates ON fates.fate = known.fate
    GROUP BY known.place, known.fate, known.about
    ORDER BY known.place`,
}

export const funnelCheck: View = {
  name: 'funnel_check',
  about: 'One row: whether every sampled completion has exactly one fate, as of the published position of form-groups.',
  columns: {
    sampled: 'completions that are loaded',
    with_a_fate: 'of those, how many the fates add up to, lost ones left out',
    lost: 'completions without a fate; must be 0',
    ahead: 'outcomes whose completion is not loaded yet',
    holds: 'sampled = with_a_fate and lost = 0',
  },
  sql: `
    WITH counted AS (
      SELECT
        (SELECT count(*) FROM policy.completions_sampled) AS sampled,
        coalesce(sum(completions) FILTER (fate NOT IN ('ahead', 'lost')), 0)::BIGINT AS with_a_fate,
        coalesce(sum(completions) FILTER (fate = 'lost'), 0)::BIGINT AS lost,
        coalesce(sum(completions) FILTER (fate = 'ahead'), 0)::BIGINT AS ahead
      FROM funnel
    )
    SELECT *, sampled = with_a_fate AND lost = 0 AS holds FROM counted`,
}
