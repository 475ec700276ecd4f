import { expect, test } from 'vitest'
import { modelPublished } from '../schemas/events/model.ts'
import { example } from '../testing/test-driver.ts'
import { lastPublished } from './last-published.ts'

const published = (model_id: string, lineage: string, version: number, seconds: number, role = 'policy' as const) =>
  example(
    modelPublished,
    {
      ...{ model_id, role, version, lineage, parent: null, trained_on: [], metrics: {} },
      blob: { sha256: 'a'.repeat(64), bytes: 1, media_type: 'application/onnx' },
    },
    { time: new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString() },
  )

const lastOf = (...events: readonly ReturnType<typeof published>[]) => {
  const { initial, apply } = lastPublished('policy')
  return events.reduce((state, event) => apply(state, event), initial)?.model_id
}

test('the last version of a lineage is used, whatever clock published it', () => {
  expect(lastOf()).toBeUndefined()
  expect(lastOf(published('one', 'a', 1, 10), published('two', 'a', 2, 5))).toBe('two')
})

test('a model that is delivered again, or late, does not come back', () => {
  const [one, two, fork] = [published('one', 'a', 1, 0), published('two', 'a', 2, 1), published('fork', 'b', 1, 2)]
  expect(lastOf(one, two, one)).toBe('two')
  expect(lastOf(one, two, fork, two, one)).toBe('fork')
})

test('of two lineages, the one that published last is used; at the same time, in every task the same', () => {
  const [one, fork] = [published('one', 'a', 7, 3), published('fork', 'b', 1, 4)]
  expect([lastOf(one, fork), lastOf(fork, one)]).toEqual(['fork', 'fork'])
  const [x, y] = [published('x', 'a', 1, 3), published('y', 'b', 1, 3)]
  expect([lastOf(x, y), lastOf(y, x)]).toEqual(['y', 'y'])
})

test('models of other roles change nothing', () => {
  const encoder = published('encoder', 'a', 9, 9, 'encoder' as never)
  expect(lastOf(published('one', 'a', 1, 0), encoder)).toBe('one')
})
