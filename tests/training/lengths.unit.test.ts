import { expect, test } from 'vitest'
import { lengthBreaches, type SampledGroup } from './lengths.ts'

const group = (at: number, characters: number, state = 'durable', reason: string | null = null): SampledGroup => ({
  ...{ group_id: `g${at}`, characters, state, reason },
})
const RIGHT = [
  ...Array.from({ length: 9 }, (_, at) => group(at, [80, 500, 3_000][at % 3] as number)),
  group(9, 3_000, 'dropped', 'stale'),
]
const weightsOf = (groups: readonly SampledGroup[]) =>
  Object.fromEntries(groups.flatMap(({ group_id, state }) => (state === 'durable' ? [[group_id, 1] as const] : [])))
const found = (groups: readonly SampledGroup[], weights: Record<string, number> = weightsOf(groups)) =>
  lengthBreaches(groups, weights, () => {})

test('groups that are durable, or dropped with a reason, are right', () => {
  expect(found(RIGHT)).toEqual([])
})

test.each<[string, readonly SampledGroup[], Record<string, number>?]>([
  ['a long group waits', [...RIGHT, group(10, 3_000, 'waiting')]],
  ['a long group is dropped without a reason', [...RIGHT, group(10, 3_000, 'dropped')]],
  ['a long group is durable and not inside the weights', [...RIGHT, group(10, 3_000)], weightsOf(RIGHT)],
  ['no long group is durable', RIGHT.filter(({ characters, state }) => characters < 1_000 || state === 'dropped')],
  ['too many are dropped', RIGHT.map((one, at) => (at < 2 ? { ...one, state: 'dropped', reason: 'stale' } : one))],
  ['none is too old', RIGHT.slice(0, 9)],
])('it is found that %s', (_, groups, weights) => {
  expect(found(groups, weights)).toHaveLength(1)
})
