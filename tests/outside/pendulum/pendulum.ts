import { derivedBy } from '../../../sinks/duckdb/views/derived.ts'
import type { View } from '../../../sinks/duckdb/views/view.ts'
import { type Domain, stage } from '../../../streams/domain.ts'
import { inferGravity } from './infer-gravity.ts'
import { measurePeriod } from './measure-period.ts'
import { gravityInferred, periodMeasured, swingSeen } from './pendulum-events.ts'
import { PENDULUMS } from './pendulums.ts'

const gravities: View = {
  name: 'gravities',
  about: 'One row per measured pendulum.',
  columns: { pendulum_id: 'one pendulum', period_s: 'of a full swing', gravity: 'm/s²' },
  sql: `
    SELECT measured.pendulum_id, measured.period_s, inferred.gravity
    FROM ${derivedBy('measure-period', periodMeasured.type)} AS measured
    LEFT JOIN ${derivedBy('infer-gravity', gravityInferred.type)} AS inferred
      ON inferred.pendulum_id = measured.pendulum_id`,
}

/** A second domain, written outside: it uses what the program exports, and changes none of its files. */
export const pendulum: Domain = {
  name: 'pendulum',
  about: 'gravity, from swinging weights',
  events: [swingSeen, periodMeasured, gravityInferred],
  sources: [{ name: 'pendulums', ce_sources: [PENDULUMS], outputs: [swingSeen] }],
  stages: async () => [stage(measurePeriod(), measurePeriod), stage(inferGravity(), inferGravity)],
  views: () => [gravities],
}
