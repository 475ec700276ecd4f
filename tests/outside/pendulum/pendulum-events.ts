import { defineEvent } from '../../../schemas/declare/event.ts'
import { float64, int32, utf8 } from '../../../schemas/declare/logical-types.ts'

const pendulum_id = utf8('one pendulum')
const length_m = float64({ min: 0, max: 1_000 }, 'm')

export const swingSeen = defineEvent({
  type: 'pendulum.swing_seen',
  version: 1,
  key: 'pendulum_id',
  encoding: 'json',
  retention: 'source',
  about: 'A pendulum went through its lowest point.',
  row: { pendulum_id, length_m, crossing: int32({ min: 0 }), at_s: float64({ min: 0, max: 1e9 }, 's') },
})

export const periodMeasured = defineEvent({
  type: 'pendulum.period_measured',
  version: 1,
  key: 'pendulum_id',
  encoding: 'json',
  retention: 'derived',
  about: 'The period of a pendulum, from its first three crossings.',
  row: { pendulum_id, length_m, period_s: float64({ min: 0 }, 's') },
})

export const gravityInferred = defineEvent({
  type: 'pendulum.gravity_inferred',
  version: 1,
  key: 'pendulum_id',
  encoding: 'json',
  retention: 'derived',
  about: 'The gravity that a period and a length give.',
  row: { pendulum_id, gravity: float64('m/s²') },
})
