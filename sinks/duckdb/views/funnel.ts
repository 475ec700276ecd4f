import { REJECTIONS } from '../../../schemas/events/rollout.ts'
import { derived, repeatedRows } from './derived.ts'
import type { View } from './view.ts'

/**
 * Why each fate is exact although the sink loads while the fold runs (see `loader.ts`): state and outputs are at least
 * as new as the published position P of form-groups. A completion before P is therefore in an output, in a dead letter
 * or in the state; one at or after P counts as not read.
 *
 * `pending_held` and the fold's own outputs precede `duplicate`: if the log holds an event twice, the fold rejects its
 * second copy under the id of the first, which stays valid. If one event holds an index twice, the first row has the
 * fate of that index, and every other one is a `duplicate`.
 *
 * A dead letter is matched by event id, since its offset is that of the log it was written to, and this may be a copy.
 * Another record of the same id may be the dead one, so `dead` comes after outcomes and `pending_unread`: a completion
 * that form-groups has taken, or has not read yet, is not dead.
 */
const REJECTED: Readonly<Record<(typeof REJECTIONS)[number], string>> = {
  late: 'its group had expired, or it was never requested',
  mixed_attempt: 'its group holds another sampling attempt',
  index_out_of_range: 'its group has fewer completions',
  scorer_failed: 'the scorer failed on it',
  unsupported_token: 'it has a token that no trainer takes',
  duplicate: 'its index was taken',
}
/** Reasons of the completion itself. They precede `duplicate`, which may be that of a second copy. */
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

/** Fates from an outcome or the state of form-groups; if there are several, the first counts. */
const GIVEN = FATES.map(([fate]) => fate).filter((fate) => !['dead', 'pending_unread', 'lost'].includes(fate))
const place = (fate: string) => GIVEN.indexOf(fate) + 1
const given = `[${GIVEN.map((fate) => `'${fate}'`).join(', ')}]`

/** One row per outcome and per completion in the state: `group_id`, `sampled_id`, `completion_index`, `place`. */
const outcomes = `(
        SELECT group_id, sampled_id, completion_index, ${place('formed')} AS place
        FROM ${derived('rollout.group_formed')}
        UNION ALL
        SELECT group_id, one.sampled_id, one.completion_index, ${place('expired')}
        FROM (SELECT group_id, unnest(held) AS one FROM ${derived('rollout.group_expired')})
        UNION ALL
        SELECT group_id, sampled_id, completion_index, list_position(${given}, reason)
        FROM ${derived('rollout.completion_rejected')}
        UNION ALL
        SELECT key, slot.value->>'$.sampled_id', slot.key::INTEGER, ${place('pending_held')}
        FROM (
          SELECT key, unnest(map_entries(json_transform(state->'$.slots', '"MAP(VARCHAR, JSON)"'))) AS slot
          FROM internal.state
          WHERE processor = 'form-groups' AND (state->>'$.closed') IS NULL
        )
      )`

const sampled = `(
      SELECT completion.group_id, completion.ce_id, completion.completion_index, completion.log_partition,
        completion.log_offset,
        CASE WHEN repeated.kept IS NULL OR repeated.kept = completion."row" THEN completion.ce_id END AS placed_id
      FROM policy.completions_sampled AS completion
      LEFT JOIN ${repeatedRows('policy.completions_sampled')} AS repeated
        ON repeated.group_id = completion.group_id
        AND repeated.ce_id = completion.ce_id
        AND repeated.completion_index = completion.completion_index
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
  folds: ['form-groups'],
  sql: `
    SELECT
      sampled.group_id,
      sampled.ce_id AS sampled_id,
      sampled.completion_index,
      CASE
        WHEN outcome.place IS NOT NULL THEN ${given}[outcome.place]
        WHEN sampled.log_offset >= coalesce(read.next, 0) THEN 'pending_unread'
        WHEN dead.ce_id IS NOT NULL THEN 'dead'
        WHEN sampled.placed_id IS NULL THEN 'duplicate'
        ELSE 'lost'
      END AS fate
    FROM ${sampled} AS sampled
    LEFT JOIN (
      SELECT group_id, sampled_id, completion_index, min(place) AS place FROM ${outcomes} GROUP BY ALL
    ) AS outcome
      ON outcome.group_id = sampled.group_id
      AND outcome.sampled_id = sampled.placed_id
      AND outcome.completion_index = sampled.completion_index
    LEFT JOIN (
      SELECT DISTINCT ce_id FROM internal.dead_letters WHERE processor = 'form-groups' AND ce_id IS NOT NULL
    ) AS dead ON dead.ce_id = sampled.ce_id
    LEFT JOIN (
      SELECT "partition", next
      FROM internal.processor_positions
      WHERE processor = 'form-groups' AND topic = 'policy.completions_sampled'
    ) AS read ON read."partition" = sampled.log_partition
    UNION ALL
    SELECT DISTINCT NULL, outcome.sampled_id, outcome.completion_index, 'ahead'
    FROM ${outcomes} AS outcome
    ANTI JOIN policy.completions_sampled AS sampled
      ON sampled.ce_id = outcome.sampled_id AND sampled.completion_index = outcome.completion_index`,
}

const fateRows = [...FATES, ['ahead', 'named by an outcome, not loaded itself yet: outside the identity']]
  .map(([fate, about], place) => `(${place}, '${fate}', '${about}')`)
  .join(', ')

export const funnel: View = {
  name: 'funnel',
  about:
    'What became of every sampled completion. The fates but `ahead` add up to what was sampled; funnel_check shows it.',
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
        sum(sampled)::BIGINT AS sampled,
        coalesce(sum(completions) FILTER (fate NOT IN ('ahead', 'lost')), 0)::BIGINT AS with_a_fate,
        coalesce(sum(completions) FILTER (fate = 'lost'), 0)::BIGINT AS lost,
        coalesce(sum(completions) FILTER (fate = 'ahead'), 0)::BIGINT AS ahead
      FROM (
        SELECT count(*) AS sampled, NULL AS fate, 0 AS completions FROM policy.completions_sampled
        UNION ALL
        SELECT 0, fate, completions FROM funnel
      )
    )
    SELECT *, sampled = with_a_fate AND lost = 0 AS holds FROM counted`,
}
