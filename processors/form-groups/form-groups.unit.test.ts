import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defineEvent, type Event } from '../../schemas/declare/event.ts'
import { scoredFields } from '../../schemas/events/origin.ts'
import { completionRejected, groupExpired, groupFormed } from '../../schemas/events/rollout.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { example, testDriver, tick } from '../../testing/test-driver.ts'
import { requested, sampled, sampledRow, scored, scoredRow } from '../../testing/tower-events.ts'
import { formGroups } from './form-groups.ts'

const driver = () => testDriver(formGroups({ dialect: 'paper', scored: [completionsScored] }))
const both = sampled('s1', sampledRow(0), sampledRow(1))
const scores = scored(
  'c1',
  scoredRow(0, 's1', { reward: 20 }),
  scoredRow(1, 's1', { reward: -5, outcome: 'non_parseable' }),
)

describe('a group of two', () => {
  test('forms when both completions are scored, with their advantages', async () => {
    const group = driver()
    await group.given(requested(), both)
    await group.when(scores)
    const [formed] = group.emitted(groupFormed)
    expect(formed?.data.map((row) => [row.completion_index, row.reward, row.advantage])).toEqual([
      [0, 20, expect.closeTo(Math.SQRT1_2, 12)],
      [1, -5, expect.closeTo(-Math.SQRT1_2, 12)],
    ])
    expect(formed?.data[0]).toMatchObject({
      dialect: 'paper',
      reward_mean: 7.5,
      zero_variance: false,
      sampled_id: 's1',
    })
    expect(formed?.causes).toEqual(['c1', 'request', 's1'])
    expect(formed?.time).toBe('2026-01-01T00:00:01.000Z')
  })

  test.each(['train', 'eval', 'probe'] as const)('has the purpose of its request: %s', async (purpose) => {
    const group = driver()
    await group.given(requested({ purpose }), both)
    await group.when(scores)
    expect(group.emitted(groupFormed)[0]?.data.map((row) => row.purpose)).toEqual([purpose, purpose])
  })

  test('does not form with one completion missing', async () => {
    const group = driver()
    await group.when(requested(), sampled('s1', sampledRow(0)), scored('c1', scoredRow(0, 's1')))
    expect(group.emitted()).toEqual([])
  })

  test('is the same whatever order its events arrive in', async () => {
    const events: Event[] = [
      requested(),
      sampled('s1', sampledRow(0)),
      sampled('s2', sampledRow(1)),
      scored('c1', scoredRow(0, 's1', { reward: 3 })),
      scored('c2', scoredRow(1, 's2', { reward: 4 })),
    ]
    const inOrder = driver()
    await inOrder.when(...events)
    const [expected] = inOrder.emitted(groupFormed)
    const orders = fc.shuffledSubarray(events, { minLength: events.length })
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const group = driver()
        await group.when(...order)
        expect(group.emitted()).toEqual([expected])
      }),
    )
  })

  test('keeps only what it needs to reject late answers once it has formed', async () => {
    const group = driver()
    await group.given(requested(), both, scores)
    expect(group.state('g1')).toMatchObject({ closed: 'formed', attempt_id: 'attempt-1', slots: {} })
  })

  test('is forgotten a week after its deadline', async () => {
    const group = driver()
    await group.given(requested(), both, scores, tick('virtual', '2026-01-08T01:00:00.000Z'))
    expect(group.state('g1')).toBeUndefined()
  })
})

test('an event that is delivered again is not a duplicate', async () => {
  const group = driver()
  const rejected = sampled('s2', sampledRow(0))
  await group.given(requested(), sampled('s1', sampledRow(0)), rejected)
  await group.when(sampled('s1', sampledRow(0)), rejected)
  expect(group.emitted()).toEqual([])
})

test.each([
  ['formed', scores],
  ['expired', tick('virtual', '2026-01-01T01:00:00.000Z')],
] as const)(
  'an event that is delivered again after its group has %s is not another completion',
  async (_closed, closing) => {
    const group = driver()
    const rejected = sampled('s2', sampledRow(0, { attempt_id: 'attempt-2' }))
    await group.given(requested(), both, rejected, closing)
    await group.when(both, rejected)
    expect(group.emitted()).toEqual([])
  },
)

describe('a completion is rejected', () => {
  test.each([
    ['duplicate', sampled('s2', sampledRow(0)), 'completion 0 came with s1'],
    ['mixed_attempt', sampled('s2', sampledRow(1, { attempt_id: 'attempt-2' })), 'the group is of attempt attempt-1'],
    ['index_out_of_range', sampled('s2', sampledRow(2)), 'the group has 2 completions'],
  ] as const)('as %s while its group is open', async (reason, event, detail) => {
    const group = driver()
    await group.given(requested(), sampled('s1', sampledRow(0)))
    await group.when(event)
    expect(group.emitted(completionRejected).map(({ data }) => [data.sampled_id, data.reason, data.detail])).toEqual([
      ['s2', reason, detail],
    ])
  })

  test('as duplicate or mixed_attempt after its group has formed', async () => {
    const group = driver()
    await group.given(requested(), both, scores)
    await group.when(sampled('s2', sampledRow(0)), sampled('s3', sampledRow(0, { attempt_id: 'attempt-2' })))
    expect(group.emitted(completionRejected).map(({ data }) => data.reason)).toEqual(['duplicate', 'mixed_attempt'])
  })

  test('as index_out_of_range when the request arrives after it', async () => {
    const group = driver()
    await group.given(sampled('s1', sampledRow(5)))
    await group.when(requested())
    expect(group.emitted(completionRejected)[0]?.data).toMatchObject({
      completion_index: 5,
      reason: 'index_out_of_range',
    })
  })

  test('as late after its group has expired', async () => {
    const group = driver()
    await group.given(requested(), tick('virtual', '2026-01-01T01:00:00.000Z'))
    await group.when(both)
    expect(group.emitted(completionRejected).map(({ data }) => [data.completion_index, data.reason])).toEqual([
      [0, 'late'],
      [1, 'late'],
    ])
  })

  test('as scorer_failed, and its place may be filled by another', async () => {
    const group = driver()
    const failed = scoredRow(1, 's1', { reward: null, outcome: null, scorer_error: 'the physics diverged' })
    await group.given(requested(), both)
    await group.when(scored('c1', scoredRow(0, 's1'), failed))
    expect(group.emitted(completionRejected)[0]?.data).toMatchObject({
      reason: 'scorer_failed',
      detail: 'the physics diverged',
    })
    await group.when(sampled('s2', sampledRow(1)), scored('c2', scoredRow(1, 's2')))
    expect(group.emitted(groupFormed)).toHaveLength(1)
  })

  test('as unsupported_token, whatever its score, and its place may be filled by another', async () => {
    const policy = 'openai(http://127.0.0.1:8000/v1, tiny, {"unsupported_tokens":[9]})'
    const tokens = (...token_ids: number[]) => ({ policy, token_ids })
    const group = driver()
    await group.given(requested(), scores)
    await group.when(sampled('s1', sampledRow(0, tokens(1, 2)), sampledRow(1, tokens(1, 9, 2))), scores)
    expect(group.emitted().map(({ type }) => type)).toEqual([completionRejected.type])
    expect(group.emitted(completionRejected)[0]?.data).toMatchObject({
      completion_index: 1,
      reason: 'unsupported_token',
      detail: 'token 9 is one that the policy lists as unsupported',
    })
    await group.when(sampled('s2', sampledRow(1, tokens(3))), scored('c2', scoredRow(1, 's2')))
    expect(group.emitted(groupFormed)[0]?.data.map((row) => row.sampled_id)).toEqual(['s1', 's2'])
  })

  test('as unsupported_token, and its group expires without it', async () => {
    const policy = 'openai(http://127.0.0.1:8000/v1, tiny, {"unsupported_tokens":[9]})'
    const group = driver()
    await group.given(requested(), sampled('s1', sampledRow(0), sampledRow(1, { policy, token_ids: [9] })), scores)
    await group.when(tick('virtual', '2026-01-01T01:00:00.000Z'))
    expect(group.emitted(groupExpired)[0]?.data).toMatchObject({
      missing: [1],
      held: [{ sampled_id: 's1', completion_index: 0 }],
    })
  })

  test('as late when no request arrives for it within a week', async () => {
    const group = driver()
    await group.given(both)
    await group.when(tick('virtual', '2026-01-08T00:00:01.000Z'))
    expect(group.emitted(completionRejected).map(({ data }) => [data.sampled_id, data.reason])).toEqual([
      ['s1', 'late'],
      ['s1', 'late'],
    ])
  })
})

test('scores without a request and a completion are forgotten', async () => {
  const group = driver()
  await group.given(scores)
  expect(group.state('g1')).toMatchObject({ early_scores: { 's1/0': { reward: 20 } } })
  await group.given(tick('virtual', '2026-01-08T00:00:01.000Z'), tick('virtual', '2026-01-15T00:00:01.000Z'))
  expect(group.state('g1')).toBeUndefined()
})

describe('a group expires', () => {
  test('on the first tick at its deadline, naming what is missing and what was there', async () => {
    const group = driver()
    await group.given(requested(), sampled('s1', sampledRow(1)))
    await group.when(tick('virtual', '2026-01-01T00:59:59.999Z'))
    expect(group.emitted()).toEqual([])
    await group.when(tick('virtual', '2026-01-01T01:00:00.000Z'))
    const [expired] = group.emitted(groupExpired)
    expect(expired?.data).toMatchObject({
      missing: [0, 1],
      held: [{ sampled_id: 's1', completion_index: 1, attempt_id: 'attempt-1' }],
    })
    expect(expired?.causes).toEqual(['request'])
    expect(expired?.time).toBe('2026-01-01T00:00:00.000Z')
  })

  test('not on a tick of another clock', async () => {
    const group = driver()
    await group.given(requested())
    await group.when(tick('wall', '2027-01-01T00:00:00.000Z'))
    expect(group.emitted()).toEqual([])
  })
})

test('a negative index is a dead letter, and does not affect the group', async () => {
  const group = driver()
  await group.given(requested())
  await group.when(sampled('bad', sampledRow(-1)))
  expect(group.failures().map(({ failure, error }) => [failure, error.message])).toEqual([
    ['poison', 'completion_index -1: expected 0 or more'],
  ])
  await group.when(both, scores)
  expect(group.emitted(groupFormed)).toHaveLength(1)
})

describe('of an earlier release, which took any size', () => {
  const ofSize = (group_size: number) => ({ ...requested({ group_size }), before_rules: true }) as Event

  test('a group larger than any event can list is refused before anything is made of its size', async () => {
    const group = driver()
    await group.when(ofSize(100_000_000))
    expect(group.failures()).toMatchObject([
      {
        failure: 'poison',
        error: { message: expect.stringContaining('group_size 100000000: expected at most 100000') },
      },
    ])
  })

  test('a smaller one is taken, and lists what is missing when it expires', async () => {
    const group = driver()
    await group.given(ofSize(50_000))
    await group.when(tick('virtual', '2026-01-01T01:00:00.000Z'))
    expect(group.emitted(groupExpired)[0]?.data.missing).toHaveLength(50_000)
  })
})

test('a group of another origin forms from the scored event that the origin declares', async () => {
  const sumsScored = defineEvent({
    type: 'sums.completions_scored',
    version: 1,
    key: 'group_id',
    encoding: 'arrow',
    retention: 'derived',
    about: '',
    row: scoredFields,
  })
  const group = testDriver(formGroups({ dialect: 'paper', scored: [completionsScored, sumsScored] }))
  await group.given(requested({ origin: 'sums', task: 'add' }), both)
  const row = { group_id: 'g1', attempt_id: 'attempt-1', sampled_id: 's1', reward_name: 'sums', reward_version: 1 }
  const right = { ...row, outcome: 'right', reward: 1, scorer_error: null }
  const rows = [0, 1].map((completion_index) => ({ ...right, completion_index }))
  await group.when(example(sumsScored, rows, { id: 'c1' }))
  const [formed] = group.emitted(groupFormed)
  expect(formed?.data.map(({ origin, outcome, reward }) => [origin, outcome, reward])).toEqual([
    ['sums', 'right', 1],
    ['sums', 'right', 1],
  ])
})
