import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { scheduleOf } from './kills.ts'
import { trainingTest } from './training-test.ts'

/** The small version of `npm run test:training -- --seed S --kills 30`. */

const python = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))

test('every kind of kill is in a schedule, and the same seed gives the same one', () => {
  const kills = scheduleOf('1', 30)
  expect(kills).toEqual(scheduleOf('1', 30))
  for (const [when, path] of [
    ['after', '/leases'],
    ['before', '/receipts'],
    ['before', '/checkpoints'],
    ['after', '/runs'],
  ]) {
    expect(kills.filter((kill) => kill.when === when && kill.path === path).length).toBeGreaterThanOrEqual(2)
  }
})

test('with ranks, feed, sampler, scorer and sink killed eight times, every formed group is inside the weights once, and the ledger tells the same', {
  timeout: 600_000,
}, async () => {
  expect(existsSync(python), `${python}: npm test makes it`).toBe(true)
  const { breaches, counts } = await trainingTest({ seed: '1', kills: 8 })
  expect(breaches).toEqual([])
  expect(counts['groups formed']).toBeGreaterThan(50)
})

test('a trainer that resumes with older weights than the feed was told is found', { timeout: 600_000 }, async () => {
  const { breaches, folder } = await trainingTest({ seed: '1', kills: 8, plant: 'old-weights' })
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  expect(breaches.join('\n')).toMatch(/groups inside the weights: expected \d+, got \d+/)
})

/** Of a schedule in which the sampler is killed too. */
const STALENESS = { seed: '6', max_staleness: 6 }

test('no bias to short completions: with staleness on and eight kills, in every bin of lengths the sampled groups are durable or dropped with a reason, and at least 80 % durable', {
  timeout: 600_000,
}, async () => {
  expect(scheduleOf(STALENESS.seed, 8).map(({ who }) => who)).toContain('sampler')
  const { breaches, counts } = await trainingTest({ ...STALENESS, kills: 8 })
  expect(breaches).toEqual([])
  expect(counts['models published']).toBeGreaterThan(4)
})

test('a bias to short completions is found: a trainer that passes long ones over and reports its steps as before', {
  timeout: 600_000,
}, async () => {
  const { breaches, folder } = await trainingTest({ ...STALENESS, kills: 1, plant: 'skips-long' })
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  expect(breaches.join('\n')).toMatch(/more than 1,000 characters: \d+ sampled, expected as many durable and dropped/)
})
