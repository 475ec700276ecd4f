import { expect, test } from 'vitest'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { testDriver } from '../../testing/test-driver.ts'
import { requested } from '../../testing/tower-events.ts'
import { sampleCompletions } from './sample-completions.ts'

test('a request of an earlier release for more completions than an event can hold is refused, the next one is answered', async () => {
  const policy = testDriver(sampleCompletions('random-legal'))
  const huge = { ...requested({ group_size: 100_000_000 }, 'huge'), before_rules: true } as Event
  await policy.when(huge, requested())
  expect(policy.failures()).toMatchObject([{ failure: 'poison', event: { id: 'huge' } }])
  expect(policy.emitted(completionsSampled).map(({ data }) => data.length)).toEqual([2])
})

test('a request of another origin is not answered', async () => {
  const policy = testDriver(sampleCompletions('random-legal'))
  const start = { declaration: 'elsewhere.state', version: 1, value: {} }
  await policy.when(requested({ origin: 'elsewhere', task: 'anything', start }), requested({ group_id: 'g2' }, 'next'))
  expect(policy.failures()).toEqual([])
  expect(policy.emitted(completionsSampled).map(({ key }) => key)).toEqual(['g2'])
})
