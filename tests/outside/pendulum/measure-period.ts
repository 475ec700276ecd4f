import { z } from 'zod'
import { causeOf, causeSchema, type Fold, isA } from '../../../processors/processor.ts'
import { periodMeasured, swingSeen } from './pendulum-events.ts'

const state = z.object({
  /** By event id: an event that is delivered again is the same crossing. */
  crossings: z.record(z.string(), z.object({ at_s: z.number(), cause: causeSchema })),
  first: causeSchema,
})

const ENOUGH = 3
/** Crossings of a pendulum, and redelivered ones, arrive within a week of its clock. */
const MEMORY_MS = 7 * 24 * 3_600_000

export function measurePeriod(): Fold<z.infer<typeof state>> {
  return {
    shape: 'fold',
    name: 'measure-period',
    version: 1,
    about: 'the period of each pendulum, from its first three crossings',
    variant: [],
    produces: 'derived',
    inputs: [swingSeen],
    outputs: [periodMeasured],
    state: { version: 1, schema: state },
    apply(known, event, emit) {
      if (!isA(event, swingSeen)) return known
      const before = known?.crossings ?? {}
      if (event.id in before || Object.keys(before).length === ENOUGH) return known
      const { pendulum_id, length_m, at_s } = event.data
      const crossings = { ...before, [event.id]: { at_s, cause: causeOf(event) } }
      const all = Object.values(crossings)
      if (all.length === ENOUGH) {
        const times = all.map((crossing) => crossing.at_s)
        const period_s = (2 * (Math.max(...times) - Math.min(...times))) / (ENOUGH - 1)
        emit(periodMeasured, { pendulum_id, length_m, period_s }, { causes: all.map(({ cause }) => cause) })
      }
      return { crossings, first: known?.first ?? causeOf(event) }
    },
    deadline: ({ first: { clock, time } }) => {
      return { clock, time: new Date(Date.parse(time) + MEMORY_MS).toISOString(), housekeeping: true }
    },
    expire: () => undefined,
  }
}
