import { fed } from './fed.ts'
import type { View } from './view.ts'

/** Leases and published policies of the lineages that runs publish in, as rows that one sort by time orders. */
const IN_ORDER = `
        SELECT started.lineage, leased.ce_time, leased.consumer, leased.run, leased.policy_version_oldest,
          nullif(started.forked_from.version, -1) AS published, 1 AS place
        FROM ${fed('training.groups_leased')} AS leased
        LEFT JOIN ${fed('training.run_started')} AS started
          ON started.consumer = leased.consumer AND started.epoch = leased.epoch
        WHERE leased.lease IS NOT NULL
        UNION ALL BY NAME
        SELECT lineage, ce_time, version AS published, 0 AS place FROM model.published WHERE role = 'policy'`

export const staleness: View = {
  name: 'staleness',
  about: 'How many groups each run was given at each staleness, by the times of the events.',
  columns: {
    consumer: 'who trains',
    run: 'one training run of the consumer',
    staleness:
      "version of the last policy that was published in the run's lineage, or of the fork before the first one, less the version of the group's oldest token; null when either is missing",
    groups: 'leases; a group that was leased again counts again',
    without_version: 'of those, groups of a scripted policy',
  },
  sql: `
    SELECT consumer, run, published - policy_version_oldest AS staleness, count(*) AS groups,
      count(*) FILTER (policy_version_oldest IS NULL) AS without_version
    FROM (
      SELECT consumer, run, policy_version_oldest,
        max(published) OVER (
          PARTITION BY lineage ORDER BY ce_time, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS published
      FROM (${IN_ORDER}
      )
    )
    WHERE consumer IS NOT NULL
    GROUP BY ALL`,
}
