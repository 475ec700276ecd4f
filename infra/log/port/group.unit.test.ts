import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EMPTY_GROUP, firstLost, type GroupState, hasLiveMembers, ownedBy, reading, renewed, without } from './group.ts'

const SESSION_MS = 1_000

const steps = fc.array(
  fc.record({
    act: fc.constantFrom('alive', 'alive', 'leave'),
    member: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    pass_ms: fc.integer({ min: 0, max: 700 }),
  }),
  { maxLength: 40 },
)

function counts(state: GroupState): number[] {
  return Object.keys(state.members).map((member) => ownedBy(state, member).size)
}

test('whatever members do, shares are even, dead members own nothing, epochs grow, and no partition moves without need', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 17 }), (history, partitions) => {
      let now_ms = 10_000
      let state = reading(EMPTY_GROUP, 'g', 'a', ['t'], partitions, now_ms)
      for (const { act, member, pass_ms } of history) {
        now_ms += pass_ms
        const before = state
        state = act === 'alive' ? renewed(state, member, SESSION_MS, now_ms) : without(state, member)
        const members = Object.keys(state.members)
        const held = counts(state)
        if (members.length > 0) {
          expect(held.reduce((sum, count) => sum + count, 0)).toBe(partitions)
          expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(1)
        }
        if (act === 'alive') expect(Object.values(state.members).every((lease) => lease.until_ms > now_ms)).toBe(true)
        state.owners.forEach((owner, partition) => {
          const was = before.owners[partition]
          if (owner.member === was?.member) expect(owner).toEqual(was)
          else expect(owner.epoch).toBeGreaterThan(before.epoch)
        })
        const same_members = members.sort().join() === Object.keys(before.members).sort().join()
        if (same_members && act === 'alive') expect(state.owners).toEqual(before.owners)
      }
    }),
  )
})

test('a claim holds while the member owns the partition since the same epoch', () => {
  const start = reading(EMPTY_GROUP, 'g', 'a', ['t'], 1, 0)
  const owned = renewed(start, 'a', SESSION_MS, 0)
  const claim = [...ownedBy(owned, 'a')]
  expect(firstLost(owned, 'a', claim)).toBeUndefined()
  const taken = renewed(owned, 'b', SESSION_MS, 2_000)
  expect(firstLost(taken, 'a', claim)).toBe(0)
  const back = renewed(without(taken, 'b'), 'a', SESSION_MS, 2_000)
  expect(ownedBy(back, 'a').size).toBe(1)
  expect(firstLost(back, 'a', claim)).toBe(0)
})

test('a lease from before a reboot has ended', () => {
  const start = reading(EMPTY_GROUP, 'g', 'a', ['t'], 1, 900_000)
  const before = renewed(start, 'a', SESSION_MS, 900_000)
  expect(hasLiveMembers(before, 900_500)).toBe(true)
  expect(hasLiveMembers(before, 1_500)).toBe(false)
  expect(Object.keys(renewed(before, 'b', SESSION_MS, 1_500).members)).toEqual(['b'])
})
