import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { askPolicy } from '../../../processors/ask-policy/ask-policy.ts'
import { type Answer, type Call, type CallContext, type Effect, isA, type Plan } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { decodeEvent } from '../../../schemas/wire/codec.ts'
import { add, added, append, counted, PARTITIONS, recordsOf, TOPICS, vocabulary } from '../../../testing/counting.ts'
import { testDriver, tick } from '../../../testing/test-driver.ts'
import { requested, sampledRow } from '../../../testing/tower-events.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { answered, type Pending } from '../execute/effect-fold.ts'
import { execute } from '../execute/execution.ts'
import { changelogTopic } from '../internal/internal-topics.ts'
import { readJson } from '../internal/json-records.ts'
import { lagOf } from '../watch/lag.ts'
import { effectWorker } from './effect-worker.ts'
import type { Worker, WorkerEvent, WorkerOptions } from './worker.ts'

const DUE = '2026-01-02T00:00:00.000Z'

interface Asked {
  readonly who: string
}

/** Requests `amount` numbers and records each as a sum. Each test decides what its `call` does. */
function asking(
  call: (call: Call<Asked>, context: CallContext) => Promise<readonly number[]>,
  overrides: Partial<Effect<Asked>> = {},
): Effect<Asked> {
  return {
    shape: 'effect',
    name: 'count',
    version: 1,
    about: '',
    variant: ['a'],
    produces: 'facts',
    inputs: [added],
    outputs: [counted],
    state: { version: 1, schema: z.object({ who: z.string() }) },
    plan(event) {
      if (!isA(event, added)) return undefined
      const deadline = { clock: 'virtual', time: DUE } as const
      return { attempt_id: `try/${event.id}`, wanted: event.data.amount, request: { who: event.key }, deadline }
    },
    per_call: () => 1,
    call: async (asked, context) =>
      (await call(asked, context)).map((index): Answer => ({ index, row: { who: asked.request.who, sum: index } })),
    ...overrides,
  }
}

const everything = async ({ indices }: Call<Asked>) => indices

class Stage {
  readonly broker = new MemoryBroker()
  readonly log = memoryLog({ broker: this.broker })
  readonly events: WorkerEvent[] = []

  static async open(...events: Event[]): Promise<Stage> {
    const stage = new Stage()
    await stage.log.createTopics(TOPICS)
    if (events.length > 0) await append(stage.log, ...events)
    return stage
  }

  start(effect: Effect<Asked>, limits = {}, tuning: WorkerOptions['tuning'] = {}) {
    const stop = new AbortController()
    const worker: Worker = effectWorker({
      log: memoryLog({ broker: this.broker }),
      blobs: memoryBlobs(),
      processor: effect,
      vocabulary,
      partitions: PARTITIONS,
      instance: `${performance.now()}`,
      onEvent: (event) => this.events.push(event),
      tuning: { commit_interval_ms: 5, session_timeout_ms: 2_000, ...tuning },
      outside: {
        http: { post: () => Promise.reject(new Error('not used')) },
        limits: { waits: { first_ms: 5, longest_ms: 20, permanent_ms: 20 }, ...limits },
      },
    })
    const running = worker.run(stop.signal)
    const end = () => {
      stop.abort()
      return running
    }
    return { worker, end }
  }

  async untilIdle(effect: Effect<Asked>, limits = {}): Promise<void> {
    const { worker, end } = this.start(effect, limits)
    for (let quiet = 0; quiet < 3; quiet = worker.idle ? quiet + 1 : 0) await pause(20)
    await end()
  }

  /** who/index of every recorded event. */
  async recorded(): Promise<string[]> {
    const events = (await recordsOf(this.log, counted.type)).map((record) => decodeEvent(record, vocabulary))
    return events.map((event) => `${event.key}/${(event.data as unknown as { sum: number }).sum}`).sort()
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function eventually(look: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await look()
    } catch (error) {
      if (tries > 250) throw error
      await pause(20)
    }
  }
}

describe('an effect', () => {
  test('has its attempt in its committed state before the first call', async () => {
    const stage = await Stage.open(add('a', 2))
    const found: (string | undefined)[] = []
    await stage.untilIdle(
      asking(async (call) => {
        const [record] = await recordsOf(stage.log, changelogTopic('count')).then((all) =>
          all.filter(({ key }) => key === 'a'),
        )
        found.push(record && readJson<{ state: Pending }>(record).state.attempt_id)
        expect(found.at(-1)).toBe(call.attempt_id)
        return call.indices
      }),
    )
    expect(found).toHaveLength(2)
    expect(found[0]).toMatch(/^try\/add-/)
    expect(await stage.recorded()).toEqual(['a/0', 'a/1'])
  })

  test('commits each result as it arrives, while other calls are in progress', async () => {
    const stage = await Stage.open(add('a', 3))
    let release = () => {}
    const slow = new Promise<void>((resolve) => {
      release = resolve
    })
    const { worker, end } = stage.start(
      asking(async ({ indices }) => {
        if (indices[0] === 1) await slow
        return indices
      }),
    )
    await eventually(async () => expect(await stage.recorded()).toEqual(['a/0', 'a/2']))
    expect(worker.idle).toBe(false)
    release()
    await eventually(async () => expect(await stage.recorded()).toEqual(['a/0', 'a/1', 'a/2']))
    await end()
  })

  test('requests only what is missing after a restart, under the same attempt', async () => {
    const stage = await Stage.open(add('a', 4), add('b', 4))
    const attempts = new Map<string, Set<string>>()
    const asked: string[] = []
    const effect = (gives: (index: number) => boolean) =>
      asking(async ({ attempt_id, request, indices }, { signal }) => {
        const index = indices[0] ?? 0
        asked.push(`${request.who}/${index}`)
        attempts.set(request.who, (attempts.get(request.who) ?? new Set()).add(attempt_id))
        if (!gives(index)) await new Promise((_, reject) => signal.addEventListener('abort', reject))
        return indices
      })
    const first = stage.start(effect((index) => index % 2 === 0))
    await eventually(async () => expect(await stage.recorded()).toEqual(['a/0', 'a/2', 'b/0', 'b/2']))
    await first.end()
    asked.length = 0
    await stage.untilIdle(effect(() => true))
    expect(asked.sort()).toEqual(['a/1', 'a/3', 'b/1', 'b/3'])
    expect([...attempts.values()].map((names) => names.size)).toEqual([1, 1])
    expect(await stage.recorded()).toHaveLength(8)
  })

  test('records each result once while workers join and leave', async () => {
    const who = ['a', 'b', 'c', 'd', 'e', 'f']
    const stage = await Stage.open(...who.map((name) => add(name, 20)))
    const effect = asking(async ({ indices }) => {
      await pause(10)
      return indices
    })
    for (let round = 0; round < 4; round++) {
      const workers = [stage.start(effect), stage.start(effect)]
      await pause(60)
      await Promise.all(workers.map(({ end }) => end()))
    }
    await stage.untilIdle(effect)
    const recorded = await stage.recorded()
    expect(new Set(recorded).size).toBe(recorded.length)
    expect(recorded).toHaveLength(120)
  })

  test('reads no more input while enough is waiting', async () => {
    const stage = await Stage.open(...Array.from({ length: 40 }, (_, at) => add(`w${at}`, 1)))
    let open = false
    const effect = asking(async ({ indices }) => {
      while (!open) await pause(5)
      return indices
    })
    const { end } = stage.start(effect, { max_waiting: 4, concurrency: 2 }, { max_unsaved_bytes: 300 })
    await pause(400)
    const planned = async () =>
      new Set((await recordsOf(stage.log, changelogTopic('count'))).map(({ key }) => key)).size
    expect(await planned()).toBeLessThan(10)
    open = true
    await eventually(async () => expect(await stage.recorded()).toHaveLength(40))
    await end()
  })

  test('keeps reading when only expired requests wait: a tick clears them, and ticks are input', async () => {
    const stage = await Stage.open(...Array.from({ length: 8 }, (_, at) => add(`w${at}`, 1)))
    const deadline = { clock: 'wall', time: new Date(Date.now() + 100).toISOString() } as const
    const silent = asking(() => new Promise(() => {}))
    const effect = { ...silent, plan: (event: Event) => ({ ...(silent.plan(event) as Plan<Asked>), deadline }) }
    const { worker, end } = stage.start(effect, { max_waiting: 2, timeout_ms: 50 }, { max_unsaved_bytes: 300 })
    await append(stage.log, tick('wall', new Date(Date.now() + 200).toISOString()))
    await eventually(async () => {
      expect(worker.idle).toBe(true)
      expect(await lagOf(stage.log, 'count', [added.type, clockTicked.type])).toBe(0n)
    })
    await end()
  })

  test('a call that throws is retried and delays no other', async () => {
    const stage = await Stage.open(add('a', 2), add('b', 2))
    let failures = 0
    await stage.untilIdle(
      asking(async ({ request, indices }) => {
        if (request.who === 'a' && failures++ < 3) throw new TypeError('a bug')
        return indices
      }),
    )
    expect(await stage.recorded()).toHaveLength(4)
    expect(stage.events).toContainEqual(expect.objectContaining({ kind: 'retrying' }))
  })

  test('leaves requests that another variant has started, and reports them', async () => {
    const stage = await Stage.open(add('a', 2))
    const first = stage.start(asking(async ({ indices }) => (indices[0] === 0 ? indices : new Promise(() => {}))))
    await eventually(async () => expect(await stage.recorded()).toEqual(['a/0']))
    await first.end()
    await stage.untilIdle(asking(everything, { variant: ['b'] }))
    expect(await stage.recorded()).toEqual(['a/0'])
    expect(stage.events).toContainEqual({
      kind: 'notice',
      message: expect.stringContaining('begun with a wait for it'),
    })
    await stage.untilIdle(asking(everything))
    expect(await stage.recorded()).toEqual(['a/0', 'a/1'])
  })

  test('makes no call after the deadline', async () => {
    const stage = await Stage.open(add('a', 2))
    let asked = 0
    const effect = asking(async ({ indices }) => {
      asked++
      return indices[0] === 0 ? indices : new Promise(() => {})
    })
    const { worker, end } = stage.start(effect)
    await eventually(async () => expect(await stage.recorded()).toEqual(['a/0']))
    await append(stage.log, tick('virtual', DUE))
    await eventually(async () => expect(worker.idle).toBe(true))
    await end()
    await stage.untilIdle(effect)
    expect(asked).toBe(2)
  })
})

describe('an effect, called directly', () => {
  test('plans a request once, however often it is delivered', async () => {
    const driver = testDriver(asking(everything) as Effect)
    const event = add('a', 2)
    await driver.given(event)
    const state = driver.state('a')
    expect(state).toMatchObject({ wanted: 2, missing: [0, 1], request: { who: 'a' }, cause: { id: event.id } })
    await driver.given(event, add('a', 3))
    expect(driver.state('a')).toEqual(state)
  })

  test('accepts each index once, and nothing of another attempt', async () => {
    const execution = execute(asking(everything))
    await execution.process([add('a', 3)])
    const pending = execution.waiting().get('a') as Pending
    const results = (...indices: number[]) => indices.map((index) => ({ index, row: { who: 'a', sum: index } }))
    const sums = async (event: Event) =>
      (await execution.process([event])).outputs.map(({ event: { data } }) => (data as unknown as { sum: number }).sum)
    expect(await sums(answered('a', pending, { answers: results(1, 1, 7), recorded_at: DUE }))).toEqual([1])
    expect(
      await sums(answered('a', { ...pending, attempt_id: 'another' }, { answers: results(0), recorded_at: DUE })),
    ).toEqual([])
    expect(await sums(answered('a', pending, { answers: results(0, 1, 2), recorded_at: DUE }))).toEqual([0, 2])
    expect(execution.waiting().size).toBe(0)
    expect(await sums(answered('a', pending, { answers: results(0), recorded_at: DUE }))).toEqual([])
  })

  test('emits results that are too large for one event in several', async () => {
    const execution = execute(askPolicy({ url: 'http://h/v1', model: 'm' }))
    await execution.process([requested({ group_size: 3 }) as unknown as Event])
    const pending = execution.waiting().get('g1') as Pending
    const answers = [0, 1, 2].map((index) => ({ index, row: sampledRow(index, { text: 'x'.repeat(300_000) }) }))
    const { outputs, failures } = await execution.process([
      answered('g1', pending, { answers: answers, recorded_at: DUE }),
    ])
    expect(failures).toEqual([])
    const rows = outputs.flatMap(({ event }) => event.data as unknown as { completion_index: number }[])
    expect(rows.map((row) => row.completion_index)).toEqual([0, 1, 2])
    expect(new Set(outputs.map(({ event }) => event.id)).size).toBe(3)
  })
})

test('a plan for more results than a state can list is a dead letter before any call is made', async () => {
  const execution = execute(asking(everything))
  const { failures } = await execution.process([add('ann', 2_000_000_000), add('bob', 2)])
  expect(failures).toMatchObject([
    { failure: 'poison', error: { message: 'count plans 2000000000 results for one event: expected at most 100000' } },
  ])
  expect([...execution.waiting().keys()]).toEqual(['bob'])
})
