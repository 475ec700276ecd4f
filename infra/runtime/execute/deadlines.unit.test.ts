import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Deadlines } from './deadlines.ts'

const at = (minute: number) => ({ clock: 'virtual' as const, time: new Date(minute * 60_000).toISOString() })

test('every key is due once, at its last deadline, in the order of time and then of key', () => {
  const step = fc.oneof(
    fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e'), minute: fc.option(fc.nat(50), { nil: undefined }) }),
    fc.record({ now: fc.nat(50) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const deadlines = new Deadlines()
      const model = new Map<string, number>()
      for (const one of steps) {
        if ('now' in one) {
          const due = [...model].filter(([, minute]) => minute <= one.now)
          due.sort(([a, atA], [b, atB]) => atA - atB || (a < b ? -1 : 1))
          expect(deadlines.due(at(one.now))).toEqual(due.map(([key]) => key))
          for (const [key] of due) model.delete(key)
        } else if (one.minute === undefined) {
          deadlines.set(one.key, undefined)
          model.delete(one.key)
        } else {
          deadlines.set(one.key, at(one.minute))
          model.set(one.key, one.minute)
        }
      }
    }),
  )
})

test('the latest open deadline leaves out those at which nothing would be emitted', () => {
  const deadlines = new Deadlines()
  deadlines.set('a', at(1))
  deadlines.set('b', { ...at(9), housekeeping: true })
  expect(deadlines.latest('virtual')).toBe(at(1).time)
  expect(deadlines.latest('wall')).toBeUndefined()
})
