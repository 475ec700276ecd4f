import { expect, test } from 'vitest'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsScored, startAt } from '../../schemas/events/tower.ts'
import { testDriver, tick } from '../../testing/test-driver.ts'
import { requested, SCENE, sampled, sampledRow } from '../../testing/tower-events.ts'
import { paperScorer } from './paper-scorer.ts'
import { scoreCompletions } from './score-completions.ts'
import type { Scorer } from './scored-row.ts'

const paper = await paperScorer()
const best = sampledRow(0, { text: '<answer>-400, 250</answer>' })
const nonsense = sampledRow(1, { text: 'I would rather not' })

test('a completion is scored whether its request arrives before or after it', async () => {
  const before = testDriver(scoreCompletions(paper))
  await before.given(requested())
  await before.when(sampled('s1', best, nonsense))
  const after = testDriver(scoreCompletions(paper))
  await after.given(sampled('s1', best, nonsense))
  await after.when(requested())
  expect(before.emitted(completionsScored)[0]?.data.map((row) => [row.outcome, row.reward])).toEqual([
    ['stable', 20],
    ['non_parseable', -5],
  ])
  expect(after.emitted()).toEqual(before.emitted())
})

test('completions that are delivered again are scored once, before their request and after it', async () => {
  const some = sampled('s1', best)
  const early = testDriver(scoreCompletions(paper))
  await early.given(some, some)
  await early.when(requested())
  expect(early.emitted()).toHaveLength(1)
  const late = testDriver(scoreCompletions(paper))
  await late.given(requested(), some)
  await late.when(some)
  expect(late.emitted()).toEqual([])
  await late.given(sampled('s2', nonsense))
  expect(late.state('g1')).toMatchObject({ done: true })
})

test('a scorer that throws gives a row without a reward, and the other rows keep theirs', async () => {
  const broken: Scorer = {
    ...paper,
    score: (scene, task, text) => {
      if (text.includes('rather not')) throw new Error('the physics diverged')
      return paper.score(scene, task, text)
    },
  }
  const driver = testDriver(scoreCompletions(broken))
  await driver.given(requested())
  await driver.when(sampled('s1', best, nonsense))
  expect(driver.emitted(completionsScored)[0]?.data.map((row) => [row.reward, row.scorer_error])).toEqual([
    [20, null],
    [null, 'the physics diverged'],
  ])
})

test('a tower too tall for the physics to end is not simulated, whatever release requested it', async () => {
  for (const height of [1_000, 2_000_000_000]) {
    const driver = testDriver(scoreCompletions(paper))
    const tall = requested(startAt({ ...SCENE, height }))
    await driver.given({ ...tall, before_rules: true } as Event)
    await driver.when(sampled('s1', sampledRow(0, { text: '<answer>-270, 250000</answer>' })))
    const [event] = driver.emitted(completionsScored)
    expect(event?.data.map((row) => [row.reward, row.scorer_error])).toEqual([
      [null, `scene scene-1: height ${height}: expected at most 32 blocks`],
    ])
  }
})

test('a fully scored group stores no scene, and accepts no more completions', async () => {
  const driver = testDriver(scoreCompletions(paper))
  await driver.given(requested(), sampled('s1', best, nonsense))
  expect(driver.state('g1')).toMatchObject({ done: true, waiting: [] })
  await driver.when(sampled('s2', best))
  expect(driver.emitted()).toEqual([])
})

test('completions of another origin are not scored, whichever arrives first, and not stored', async () => {
  const start = { declaration: 'elsewhere.state', version: 1, value: {} }
  const elsewhere = requested({ origin: 'elsewhere', task: 'anything', start }, 'elsewhere')
  for (const first of [
    [elsewhere, sampled('s1', best)],
    [sampled('s1', best), elsewhere],
  ] as Event[][]) {
    const driver = testDriver(scoreCompletions(paper))
    await driver.given(...first)
    expect(driver.emitted()).toEqual([])
    expect(driver.failures()).toEqual([])
    expect(driver.state('g1')).toMatchObject({ done: true, waiting: [] })
  }
})

test.each([
  [{ task: 'dance' }, /task dance of origin tower: expected one of binary_stability, x_only, x_y/],
  [
    { start: { declaration: 'elsewhere.state', version: 1, value: {} } },
    /start state of origin tower: expected tower\.scene, got elsewhere\.state/,
  ],
])('a tower’s request with %o is a dead letter', async (wrong, message) => {
  const driver = testDriver(scoreCompletions(paper))
  await driver.when(requested(wrong))
  expect(driver.failures()).toMatchObject([{ failure: 'poison', error: { message: expect.stringMatching(message) } }])
})

test('a request is forgotten a week after its deadline', async () => {
  const driver = testDriver(scoreCompletions(paper))
  await driver.given(requested(), tick('virtual', '2026-01-08T01:00:00.000Z'))
  expect(driver.state('g1')).toBeUndefined()
})
