import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Execution } from '../../infra/runtime/execute/executed.ts'
import { execute } from '../../infra/runtime/execute/execution.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { completionRejected, groupExpired, groupFormed } from '../../schemas/events/rollout.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { testDriver, tick } from '../../testing/test-driver.ts'
import { requested, sampled, sampledRow } from '../../testing/tower-events.ts'
import { isA } from '../processor.ts'
import { scoreCompletions } from '../score-completions/score-completions.ts'
import { histories } from './conformance-histories.ts'
import { formGroups } from './form-groups.ts'
import type { Group } from './group.ts'

type Step = { readonly event: Event } | 'restart'

interface Ran {
  readonly emitted: readonly Event[]
  /** Fates by `sampled_id/completion_index`. */
  readonly fates: ReadonlyMap<string, readonly string[]>
}

const key = (sampled_id: string, index: number) => `${sampled_id}/${index}`

/** Runs the steps and collects each completion's fates; `restarts: false` skips the restarts. */
async function run(steps: readonly Step[], { restarts = true } = {}): Promise<Ran> {
  let execution: Execution = execute(formGroups({ dialect: 'paper', scored: [completionsScored] }))
  const changelog = new Map<string, string>()
  const emitted: Event[] = []
  const fates = new Map<string, string[]>()
  const fate = (sampled_id: string, index: number, name: string) =>
    fates.set(key(sampled_id, index), [...(fates.get(key(sampled_id, index)) ?? []), name])
  for (const step of steps) {
    if (step === 'restart') {
      if (!restarts) continue
      execution = execute(formGroups({ dialect: 'paper', scored: [completionsScored] }))
      for (const [name, state] of changelog) execution.restore(name, JSON.parse(state))
      continue
    }
    const { outputs, failures } = await execution.process([step.event])
    for (const { key: name, state } of execution.takeChanges()) {
      if (state === undefined) changelog.delete(name)
      else changelog.set(name, JSON.stringify(state))
    }
    emitted.push(...outputs.map((output) => output.event))
    for (const { event, failure } of failures) {
      expect(failure).toBe('poison')
      if (isA(event, completionsSampled)) for (const row of event.data) fate(event.id, row.completion_index, 'dead')
    }
  }
  for (const event of emitted) {
    if (isA(event, groupFormed)) for (const row of event.data) fate(row.sampled_id, row.completion_index, 'formed')
    if (isA(event, completionRejected)) fate(event.data.sampled_id, event.data.completion_index, event.data.reason)
    if (isA(event, groupExpired))
      for (const { sampled_id, completion_index } of event.data.held) fate(sampled_id, completion_index, 'expired')
  }
  for (const [, state] of execution.states()) {
    for (const [index, slot] of Object.entries((state as Partial<Group>).slots ?? {}))
      fate(slot.sampled_id, Number(index), 'pending')
  }
  return { emitted, fates }
}

/** Events of one group, in any order, with restarts between them. */
const steps = fc.tuple(histories, fc.array(fc.nat(), { maxLength: 4 })).map(([events, restarts]) =>
  restarts.reduce<readonly Step[]>(
    (steps, place) => steps.toSpliced(place % (steps.length + 1), 0, 'restart'),
    events.map((event) => ({ event })),
  ),
)

const END: readonly Step[] = ['2026-02-01', '2026-03-01', '2026-04-01'].map((day) => ({
  event: tick('virtual', `${day}T00:00:00.000Z`),
}))

function completionsOf(steps: readonly Step[]): string[] {
  return steps.flatMap((step) =>
    step !== 'restart' && isA(step.event, completionsSampled)
      ? step.event.data.map((row) => key(step.event.id, row.completion_index))
      : [],
  )
}

describe('whatever arrives in whatever order, with restarts between', () => {
  test('each sampled completion has exactly one fate, at every moment and in the end', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.nat(), async (steps, cut) => {
        for (const part of [steps.slice(0, cut % (steps.length + 1)), steps, [...steps, ...END]]) {
          const { fates } = await run(part)
          const completions = completionsOf(part)
          for (const completion of completions)
            expect([completion, fates.get(completion)]).toHaveProperty('1.length', 1)
          expect([...fates.keys()].sort()).toEqual([...completions].sort())
        }
      }),
      { numRuns: 400 },
    )
  })

  test('nothing is pending after the deadlines, and the state is forgotten', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        const { fates } = await run([...steps, ...END])
        expect([...fates.values()].flat()).not.toContain('pending')
      }),
      { numRuns: 200 },
    )
  })

  test('a restart changes nothing: the same events with the same ids and values', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        const [restarted, straight] = [
          await run([...steps, ...END]),
          await run([...steps, ...END], { restarts: false }),
        ]
        expect(restarted.emitted).toEqual(straight.emitted)
        expect(new Set(restarted.emitted.map((event) => event.id)).size).toBe(restarted.emitted.length)
      }),
      { numRuns: 200 },
    )
  })
})

const SCORER = {
  reward_name: 'test',
  reward_version: 1,
  physics_engine: 'test',
  physics_version: '1',
  score(_scene: unknown, _task: unknown, text: string) {
    if (text === 'fail') throw new Error('the scorer fails on this')
    return {
      answer: text,
      parse_error: null,
      dx: 0,
      dy: 0,
      placed: null,
      settled: null,
      outcome: 'stable' as const,
      distance_world: 0,
      reward: 20,
      reward_components: {},
    }
  },
}

/** Sends events through score-completions and form-groups; scores reach form-groups `delay` events later. */
async function throughBoth(events: readonly Event[], delay = 0): Promise<Event[]> {
  const scoring = testDriver(scoreCompletions(SCORER))
  const grouping = testDriver(formGroups({ dialect: 'paper', scored: [completionsScored] }))
  const scores: Event[][] = []
  const emitted: Event[] = []
  for (const event of events) {
    await scoring.when(event)
    scores.push([...scoring.emitted()])
    await grouping.when(event)
    emitted.push(...grouping.emitted())
    for (const score of scores.length > delay ? (scores.shift() ?? []) : []) {
      await grouping.when(score)
      emitted.push(...grouping.emitted())
    }
  }
  for (const score of scores.flat()) {
    await grouping.when(score)
    emitted.push(...grouping.emitted())
  }
  return emitted
}

describe('scoring and grouping together: a group whose first attempt is whole forms', () => {
  const row = (at: number, attempt_id = 'A', text = 'x') => sampledRow(at, { attempt_id, text })
  const formedBy = async (events: readonly Event[], delay = 0) =>
    (await throughBoth(events, delay)).filter((event) => isA(event, groupFormed)).length

  test('although another attempt was scored in full before', async () => {
    expect(
      await formedBy([
        requested(),
        sampled('s1', row(0)),
        sampled('s2', row(0, 'B'), row(1, 'B')),
        sampled('s3', row(1)),
      ]),
    ).toBe(1)
  })

  test('although a completion that was rejected as a duplicate was scored, and the one that held its place failed', async () => {
    const events = [
      requested(),
      sampled('s1', row(0, 'A', 'fail')),
      sampled('s2', row(0)),
      sampled('s3', row(1)),
      sampled('s4', row(0)),
    ]
    expect(await formedBy(events, 1)).toBe(1)
  })

  test('although a completion with a negative index, which is a dead letter, preceded the last one', async () => {
    expect(await formedBy([requested(), sampled('s0', row(-1)), sampled('s1', row(0)), sampled('s2', row(1))])).toBe(1)
  })

  test('although one event of an earlier release holds a completion twice', async () => {
    const twice = { ...sampled('s1', row(0), row(0), row(1)), before_rules: true } as Event
    expect(await formedBy([requested(), twice])).toBe(1)
  })

  test('although the log holds an event of completions twice', async () => {
    const answers = sampled('s1', row(0), row(1))
    expect(await formedBy([requested(), answers, answers], 2)).toBe(1)
  })

  test('although a completion out of range, of another attempt, preceded the request', async () => {
    expect(await formedBy([sampled('s0', row(7, 'B')), requested(), sampled('s1', row(0), row(1))])).toBe(1)
  })
})

test('a group whose deadline is before the last tick expires on the next one, wherever that is', async () => {
  const group = testDriver(formGroups({ dialect: 'paper', scored: [completionsScored] }))
  await group.given(tick('virtual', '2026-01-01T02:00:00.000Z'), requested(), sampled('s1', sampledRow(0)))
  // --expire-pending appends such a tick, with the latest pending deadline.
  await group.when(tick('virtual', '2026-01-01T01:00:00.000Z'))
  expect(group.emitted(groupExpired)).toHaveLength(1)
})
