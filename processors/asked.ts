import { valueAs } from '../schemas/declare/declared-value.ts'
import type { RowOfEvent } from '../schemas/declare/event.ts'
import type { Fields, RowOf } from '../schemas/declare/logical-types.ts'
import type { Origin } from '../schemas/events/origin.ts'
import type { rolloutRequested } from '../schemas/events/rollout.ts'
import { InvariantError } from './processor.ts'

/** What a request asks of an origin, in that origin's types. */
export interface Asked<T extends string, R extends Fields> {
  readonly task: T
  readonly start: RowOf<R>
}

/**
 * @returns undefined when another origin asks
 * @throws InvariantError for a task or a start state that the origin does not declare
 */
export function askedOf<const T extends string, R extends Fields>(
  origin: Origin<T, R>,
  { origin: name, task, start }: RowOfEvent<typeof rolloutRequested>,
): Asked<T, R> | undefined {
  if (name !== origin.name) return undefined
  const known = origin.tasks.find((one) => one === task)
  if (known === undefined) {
    throw new InvariantError(`task ${task} of origin ${name}: expected one of ${origin.tasks.join(', ')}`)
  }
  const value = valueAs(start, origin.start)
  if (value === undefined) {
    throw new InvariantError(`start state of origin ${name}: expected ${origin.start.name}, got ${start.declaration}`)
  }
  return { task: known, start: value }
}
