import { TRAINING_EVENTS } from '../../../schemas/events/training.ts'
import { FORMED_GROUPS, fed, HAPPENED, OFFERED, SUBSCRIBED } from './fed.ts'
import { GROUP_STATES, LEDGER_WITH_LEFT } from './ledger.ts'
import type { View } from './view.ts'

/** Groups that training events name, and whose own event the sink has not loaded. */
const AHEAD = `(
      SELECT consumer, count(*) AS ahead
      FROM (SELECT DISTINCT consumer, group_id, "partition", "offset" FROM ${HAPPENED}) AS named
      ANTI JOIN ${FORMED_GROUPS} AS formed
        ON formed.group_id = named.group_id
        AND formed.log_partition = named."partition"
        AND formed.log_offset = named."offset"
      GROUP BY consumer
    )`

const NUMBERS = TRAINING_EVENTS.map(({ type }) => `SELECT consumer, number FROM ${fed(type)} WHERE "row" = 0`).join(
  ' UNION ALL ',
)

/** The last step that a rank has completed in the last epoch, or else the one that it resumed from. */
const LAST_STEP = `(
      SELECT consumer, arg_max(step, epoch) AS step
      FROM (
        SELECT consumer, epoch, max(step) AS step
        FROM (
          SELECT consumer, epoch, step FROM ${fed('training.run_started')}
          UNION ALL
          SELECT consumer, epoch, step FROM ${fed('training.step_completed')}
        )
        GROUP BY consumer, epoch
      )
      GROUP BY consumer
    )`

/** The last checkpoint that was saved, or resumed from. The empty text: resumed from none. */
const LAST_CHECKPOINT = `(
      SELECT consumer, nullif(arg_max(checkpoint, number), '') AS checkpoint
      FROM (
        SELECT consumer, number, coalesce(checkpoint, '') AS checkpoint FROM ${fed('training.run_started')}
        UNION ALL
        SELECT consumer, number, checkpoint FROM ${fed('training.checkpoint_saved')} WHERE "row" = 0
      )
      GROUP BY consumer
    )`

const count = (state: string) => `count(*) FILTER (state = '${state}') AS "${state}"`

export const consumers: View = {
  name: 'consumers',
  about:
    'One row per training consumer: how many groups are in each state. `lost` is what is in none of them; must be 0.',
  columns: {
    consumer: 'who trains',
    retired: 'it takes no more groups; those that are neither durable nor dropped count as not_subscribed',
    run: 'of its last start or resume; null before the first',
    epoch: 'counts its starts and resumes; null before the first',
    step: 'last optimiser step that a rank of the last epoch has completed, or that the epoch resumed from',
    checkpoint: 'last one that was saved, or that a run resumed from; null: none',
    matching: 'formed groups that match its subscription; they are counted without the ledger',
    ...Object.fromEntries(GROUP_STATES.map((state) => [state, `how many groups the ledger has as ${state}`])),
    lost: 'matching less the five states; must be 0. Below 0: the feed gave it groups that do not match',
    not_subscribed: 'formed groups that do not match, or lie before the start of its subscription',
    ahead: 'groups that its events name and the sink has not loaded yet: outside the identity until then',
    events: 'the highest number of its events that are loaded',
    missing: 'how many lower numbers are not loaded yet: until they are, states may be older ones',
  },
  sql: `
    SELECT
      subscribed.consumer,
      subscribed.retired,
      started.run,
      started.epoch,
      last_step.step,
      last_checkpoint.checkpoint,
      coalesce(offered.matching, 0) - coalesce(counted."left", 0) AS matching,
      ${GROUP_STATES.map((state) => `coalesce(counted."${state}", 0) AS "${state}"`).join(',\n      ')},
      coalesce(offered.matching, 0) - coalesce(counted."left", 0)
        ${GROUP_STATES.map((state) => `- coalesce(counted."${state}", 0)`).join(' ')} AS lost,
      coalesce(offered.formed, 0) - coalesce(offered.matching, 0) + coalesce(counted."left", 0) AS not_subscribed,
      coalesce(ahead.ahead, 0) AS ahead,
      numbered.events,
      numbered.events - numbered.loaded AS missing
    FROM ${SUBSCRIBED} AS subscribed
    LEFT JOIN (
      SELECT consumer, count(*) AS formed, count(*) FILTER (matches) AS matching FROM ${OFFERED} GROUP BY consumer
    ) AS offered ON offered.consumer = subscribed.consumer
    LEFT JOIN (
      SELECT consumer, ${[...GROUP_STATES, 'left'].map(count).join(', ')} FROM (${LEDGER_WITH_LEFT}) GROUP BY consumer
    ) AS counted ON counted.consumer = subscribed.consumer
    LEFT JOIN ${AHEAD} AS ahead ON ahead.consumer = subscribed.consumer
    LEFT JOIN (
      SELECT consumer, arg_max(run, number) AS run, arg_max(epoch, number) AS epoch
      FROM ${fed('training.run_started')}
      GROUP BY consumer
    ) AS started ON started.consumer = subscribed.consumer
    LEFT JOIN ${LAST_STEP} AS last_step ON last_step.consumer = subscribed.consumer
    LEFT JOIN ${LAST_CHECKPOINT} AS last_checkpoint ON last_checkpoint.consumer = subscribed.consumer
    LEFT JOIN (
      SELECT consumer, max(number) AS events, count(DISTINCT number) AS loaded FROM (${NUMBERS}) GROUP BY consumer
    ) AS numbered ON numbered.consumer = subscribed.consumer`,
}
