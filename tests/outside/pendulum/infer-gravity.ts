import { causeOf, isA, type Transform } from '../../../processors/processor.ts'
import { gravityInferred, periodMeasured } from './pendulum-events.ts'

/** g = 4π² L / T², of a simple pendulum and small swings. */
export function inferGravity(): Transform {
  return {
    shape: 'transform',
    name: 'infer-gravity',
    version: 1,
    about: 'the gravity that each period gives',
    variant: [],
    produces: 'derived',
    max_batch: 8,
    inputs: [periodMeasured],
    outputs: [gravityInferred],
    apply(events, { emit }) {
      for (const event of events) {
        if (!isA(event, periodMeasured)) continue
        const { pendulum_id, length_m, period_s } = event.data
        const gravity = (4 * Math.PI ** 2 * length_m) / period_s ** 2
        emit(gravityInferred, { pendulum_id, gravity }, { causes: [causeOf(event)] })
      }
    },
  }
}
