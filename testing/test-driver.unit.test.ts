import { expect, test } from 'vitest'
import { z } from 'zod'
import { askPolicy } from '../processors/ask-policy/ask-policy.ts'
import type { ChatPlan } from '../processors/ask-policy/chat-request.ts'
import type { Deadline, Effect, Fold, Plan } from '../processors/processor.ts'
import type { Event } from '../schemas/declare/event.ts'
import { add, counted, counting } from './counting.ts'
import { testDriver, tick } from './test-driver.ts'
import { requested } from './tower-events.ts'

const sums = (driver: ReturnType<typeof testDriver>) => driver.emitted(counted).map(({ data }) => data.sum)

test('a restarted driver resumes from the committed states', async () => {
  const driver = testDriver(counting())
  await driver.given(add('a', 1), add('b', 5))
  driver.restart()
  await driver.when(add('a', 2))
  driver.restart()
  await driver.when(add('a', 4), add('b', 1))
  expect(sums(driver)).toEqual([7, 6])
})

test('a restart loses what a processor stored outside of its state', async () => {
  const hoarding = () => {
    let total = 0
    return counting({
      apply(_state, event, emit) {
        emit(counted, { who: event.key, sum: ++total })
        return { sum: 0 }
      },
    })
  }
  const driver = testDriver(hoarding())
  await driver.given(add('a', 1))
  driver.restart(hoarding())
  await driver.when(add('a', 1))
  expect(sums(driver)).toEqual([1])
})

test('deadlines and clocks are restored, and forgotten keys stay forgotten', async () => {
  const at = (time: string): Deadline => ({ clock: 'virtual', time })
  const expiring = counting({
    deadline: ({ sum }) => at(`2026-01-0${sum}T00:00:00.000Z`),
    expire: () => undefined,
  })
  const driver = testDriver(expiring)
  await driver.given(add('a', 2), add('b', 3), tick('virtual', '2026-01-02T00:00:00.000Z'))
  driver.restart()
  expect(driver.states()).toEqual([['b', { sum: 3 }]])
  // A tick behind the clock fires what is due by the clock, as before the restart.
  await driver.given(add('c', 1), tick('virtual', '2026-01-01T00:00:00.000Z'))
  expect(driver.states().map(([key]) => key)).toEqual(['b'])
})

test('a state that breaks its schema is refused at a restart', async () => {
  const schema = z.instanceof(Map)
  const apply = (_state: unknown, event: Event) => new Map([[event.id, 1]])
  const mapped = { ...counting(), state: { version: 1, schema }, apply } as unknown as Fold
  const driver = testDriver(mapped)
  await driver.given(add('a', 1))
  expect(() => driver.restart()).toThrow(/a state of count, found one that does not fit its schema/)
})

test('a newer version restores the older state by its upcaster', async () => {
  const driver = testDriver(counting())
  await driver.given(add('a', 1))
  driver.restart(
    counting({
      state: {
        version: 2,
        schema: z.object({ sum: z.int() }),
        upcast: { 1: (state) => ({ sum: (state as { sum: number }).sum * 100 }) },
      },
    }),
  )
  await driver.when(add('a', 2))
  expect(sums(driver)).toEqual([102])
})

test('an effect restarts with its plans', async () => {
  const driver = testDriver(askPolicy({ url: 'http://h/v1', model: 'm' }) as Effect)
  await driver.given(requested({ group_size: 3 }))
  const before = driver.state('g1')
  driver.restart()
  expect(before).toMatchObject({ missing: [0, 1, 2] })
  expect(driver.state('g1')).toEqual(before)
})

test('an effect of a newer version resumes the plans of the older one, upcast', async () => {
  const now = askPolicy({ url: 'http://h/v1', model: 'm' }) as Effect<ChatPlan>
  const planned = (event: Event) => now.plan(event) as Plan<ChatPlan>
  const before: Effect = {
    ...now,
    state: { version: 1, schema: z.looseObject({}) },
    plan(event) {
      const { request, ...plan } = planned(event)
      const { images, ...rest } = request
      return { ...plan, request: { ...rest, image: images[0] } }
    },
  }
  const driver = testDriver(before)
  await driver.given(requested({ group_size: 3 }))
  driver.restart(now as Effect)
  expect(driver.state('g1')).toMatchObject({
    missing: [0, 1, 2],
    request: planned(requested({ group_size: 3 })).request,
  })
})
