import { expect, test } from 'vitest'
import type { MODEL_ROLES } from '../schemas/events/model.ts'
import { published } from '../testing/published-model.ts'
import { lastPublished } from './last-published.ts'

type Role = (typeof MODEL_ROLES)[number]

const at = (model_id: string, lineage: string, version: number, seconds: number, role: Role = 'policy') =>
  published({ model_id, lineage, version, role }, { time: new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString() })

const lastOf = (...events: readonly ReturnType<typeof published>[]) => {
  const { initial, apply } = lastPublished('policy')
  return events.reduce((state, event) => apply(state, event), initial)?.model_id
}

test('the last version of a lineage is used, whatever clock published it', () => {
  expect(lastOf()).toBeUndefined()
  expect(lastOf(at('one', 'a', 1, 10), at('two', 'a', 2, 5))).toBe('two')
})

test('a model that is delivered again, or late, does not come back', () => {
  const [one, two, fork] = [at('one', 'a', 1, 0), at('two', 'a', 2, 1), at('fork', 'b', 1, 2)]
  expect(lastOf(one, two, one)).toBe('two')
  expect(lastOf(one, two, fork, two, one)).toBe('fork')
})

test('of two lineages, the one that published last is used; at the same time, in every task the same', () => {
  const [one, fork] = [at('one', 'a', 7, 3), at('fork', 'b', 1, 4)]
  expect([lastOf(one, fork), lastOf(fork, one)]).toEqual(['fork', 'fork'])
  const [x, y] = [at('x', 'a', 1, 3), at('y', 'b', 1, 3)]
  expect([lastOf(x, y), lastOf(y, x)]).toEqual(['y', 'y'])
})

test('models of other roles change nothing', () => {
  const encoder = at('encoder', 'a', 9, 9, 'encoder')
  expect(lastOf(at('one', 'a', 1, 0), encoder)).toBe('one')
})

test('a state of the release before, which had the weights alone, is one of a model with one file', () => {
  const { upcast, schema } = lastPublished('policy')
  const blob = { sha256: 'a'.repeat(64), bytes: 1, media_type: 'application/onnx' }
  const before = { model_id: 'm', version: 1, lineage: 'a', blob, time: '2026-01-01T00:00:00.000Z' }
  const now = schema.parse(upcast?.[1]?.(before))
  expect(now).toMatchObject({ model_id: 'm', files: [{ name: 'model.onnx', blob }], vocabulary: null })
  expect(upcast?.[1]?.(null)).toBeNull()
})
