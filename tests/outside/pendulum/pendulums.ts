import { sourceId } from '../../../schemas/wire/identity.ts'
import { emitted, inSteps, type Source } from '../../../sources/source.ts'
import { swingSeen } from './pendulum-events.ts'

export const PENDULUMS = '/sources/pendulums'
export const GRAVITY = 9.81
const CROSSINGS = 3
const START_MS = Date.parse('2026-01-01T00:00:00.000Z')

/** Crossings of pendulums of 1, 2, 3 … metres: half a period apart, T = 2π √(L / g). */
export function pendulums(count: number): Source {
  const crossingsOf = (pendulum: number) =>
    Array.from({ length: CROSSINGS }, (_, crossing) => {
      const length_m = pendulum + 1
      const at_s = crossing * Math.PI * Math.sqrt(length_m / GRAVITY)
      return emitted(
        swingSeen,
        { pendulum_id: `p${pendulum}`, length_m, crossing, at_s },
        {
          id: sourceId(['pendulum', String(pendulum), String(crossing)]),
          source: PENDULUMS,
          time: new Date(START_MS + Math.round(at_s * 1_000)).toISOString(),
          clock: 'virtual',
        },
      )
    })
  return inSteps({
    name: `pendulums/${count}`,
    steps: count,
    types: [swingSeen],
    produce: async (from, to) => Array.from({ length: to - from }, (_, at) => from + at).flatMap(crossingsOf),
  })
}
