import { expect, test } from 'vitest'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { towerOrigin } from '../../schemas/events/tower-origin.ts'
import { testDriver } from '../../testing/test-driver.ts'
import { requested } from '../../testing/tower-events.ts'
import type { ScriptedPolicies } from '../scripted.ts'
import { sampleCompletions, sampledAs } from './sample-completions.ts'
import { towerPolicies } from './tower-policies.ts'

/** Those of towers for another origin, with its name in each answer. */
const elsewhere: ScriptedPolicies = {
  origin: { ...towerOrigin, name: 'elsewhere' },
  names: 'parrot',
  variant: 'elsewhere/1',
  policyOf: (name) => (name === 'parrot' || name === 'oracle' ? { answer: () => 'elsewhere' } : undefined),
}
const both = [towerPolicies, elsewhere]
const asked = [requested({ group_id: 'g1' }, 'r1'), requested({ group_id: 'g2', origin: 'elsewhere' }, 'r2')]

test('a request of an earlier release for more completions than an event can hold is refused, the next one is answered', async () => {
  const policy = testDriver(sampleCompletions('random-legal', [towerPolicies]))
  const huge = { ...requested({ group_size: 100_000_000 }, 'huge'), before_rules: true } as Event
  await policy.when(huge, requested())
  expect(policy.failures()).toMatchObject([{ failure: 'poison', event: { id: 'huge' } }])
  expect(policy.emitted(completionsSampled).map(({ data }) => data.length)).toEqual([2])
})

test('a request of another origin is not answered', async () => {
  const policy = testDriver(sampleCompletions('random-legal', [towerPolicies]))
  const start = { declaration: 'elsewhere.state', version: 1, value: {} }
  await policy.when(requested({ origin: 'elsewhere', task: 'anything', start }), requested({ group_id: 'g2' }, 'next'))
  expect(policy.failures()).toEqual([])
  expect(policy.emitted(completionsSampled).map(({ key }) => key)).toEqual(['g2'])
})

test('each request is answered by the policy of its origin, of towers in the variant that they always had', async () => {
  const policy = testDriver(sampleCompletions('oracle', both))
  await policy.when(...asked)
  expect(policy.failures()).toEqual([])
  const [tower, other] = policy.emitted(completionsSampled).map(({ data }) => data.map(({ text }) => text))
  expect(other).toEqual(['elsewhere', 'elsewhere'])
  expect(tower?.every((text) => text.startsWith('<answer>'))).toBe(true)
  expect(sampleCompletions('oracle', both).variant).toEqual(['oracle', 'elsewhere/1'])
  expect(sampleCompletions('random-legal', both).variant).toEqual(['random-legal'])
})

test('a recorded variant is answered by the origins that answered then', async () => {
  const before = testDriver(sampledAs(['oracle'], both))
  await before.when(...asked)
  expect(before.emitted(completionsSampled).map(({ key }) => key)).toEqual(['g1'])
  const since = testDriver(sampledAs(['oracle', 'elsewhere/1'], both))
  await since.when(...asked)
  expect(since.emitted(completionsSampled).map(({ key }) => key)).toEqual(['g1', 'g2'])
  expect(() => sampledAs(['oracle', 'elsewhere/2'], both)).toThrow(
    'policy oracle: expected the scripted policies elsewhere/2 of some origin, got elsewhere/1',
  )
})

test('a policy that no origin has is refused; without origins, none is expected', () => {
  expect(() => sampleCompletions('orcale', [towerPolicies])).toThrow(
    'policy: expected oracle, noisy-oracle(SIGMA), random-legal or constant(TEXT), got "orcale"; a policy with',
  )
  expect(() => sampleCompletions('orcale', both)).toThrow('or constant(TEXT); or parrot, got "orcale"')
  expect(sampleCompletions('parrot', both).variant).toEqual(['parrot', 'elsewhere/1'])
  expect(sampleCompletions('orcale', []).variant).toEqual(['orcale'])
})
