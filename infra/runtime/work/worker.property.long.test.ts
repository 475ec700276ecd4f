import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Cause, causeOf, type Fold, isA } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { Clock } from '../../../sources/clock.ts'
import {
  add,
  added,
  append,
  appendRaw,
  counted,
  counting,
  double,
  doubled,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  sumsOf,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { tick } from '../../../testing/test-driver.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { Log, Transaction } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { execute } from '../execute/execution.ts'
import { DEAD_LETTERS_TOPIC, journalTopic, SNAPSHOTS_TOPIC } from '../internal/internal-topics.ts'
import { lagOf } from '../watch/lag.ts'
import { Worker, type WorkerEvent } from './worker.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const fresh = async (broker = new MemoryBroker()) => {
  const log = memoryLog({ broker })
  await log.createTopics(TOPICS)
  return log
}

/** An object with some methods replaced. */
function changed<T extends object>(target: T, methods: Partial<Record<keyof T, unknown>>): T {
  return new Proxy(target, {
    get(of, name) {
      const own = methods[name as keyof T]
      if (own !== undefined) return own
      const value: unknown = Reflect.get(of, name)
      return typeof value === 'function' ? value.bind(of) : value
    },
  })
}

/** Each commit of the log's producers calls `fate`, which decides whether it fails before or after the write. */
function failing(log: Log, fate: () => 'before' | 'after' | undefined): Log {
  const transaction = (inner: Transaction) =>
    changed(inner, {
      commit: async () => {
        const now = fate()
        if (now === 'before') {
          await inner.abort()
          throw new Error('no space left on device')
        }
        await inner.commit()
        if (now === 'after') throw new Error('the answer to the commit was lost')
      },
    })
  return changed(log, {
    producer: async (options: { transactional_id: string }) => {
      const producer = await log.producer(options)
      return changed(producer, { begin: () => transaction(producer.begin()) })
    },
  })
}

interface Timed {
  sum: number
  until: string
  cause: Cause
}

/** Counts as `counting` does, and emits the sum again when a key had no events for a minute. */
function timed(overrides: Partial<Fold<Timed>> = {}): Fold<Timed> {
  const base = counting()
  return {
    ...(base as unknown as Fold<Timed>),
    state: { version: 1, schema: z.custom<Timed>((value) => typeof value === 'object') },
    apply(state, event, emit) {
      const { sum } = base.apply(state, event, emit, undefined) as { sum: number }
      return { sum, until: new Date(Date.parse(event.time) + 60_000).toISOString(), cause: causeOf(event) }
    },
    deadline: (state) => ({ clock: 'virtual', time: state.until }),
    expire: (state, _now, emit) => {
      const who = KEY_OF.get(state.cause.id) ?? 'nobody'
      emit(counted, { who, sum: state.sum }, { causes: [state.cause], discriminator: state.until })
      return undefined
    },
    ...overrides,
  }
}
const KEY_OF = new Map<string, string>()
const known = <E extends Event>(event: E) => {
  KEY_OF.set(event.id, event.key)
  return event
}

const verified = (log: Log, processor: Fold<never>, blobs = memoryBlobs()) =>
  verifyStage(
    { name: 'count', variant: [], create: () => processor },
    { log, blobs, vocabulary, partitions: PARTITIONS },
  )

const KEYS = ['ann', 'bob', 'cat', 'dan', 'eve']
const input = fc.record({ who: fc.constantFrom(...KEYS), amount: fc.constantFrom(1, 2, 3, 5, 7, -1, -2) })
const faults = fc.array(
  fc.record({
    kind: fc.constantFrom('crash', 'restart', 'before', 'after', 'second worker', 'append', 'append', 'tick'),
    wait_ms: fc.nat(12),
  }),
  { minLength: 3, maxLength: 10 },
)

/** Runs workers over a log under injected faults, then one without faults until everything is read. */
async function throughFaults(
  broker: MemoryBroker,
  plan: readonly { kind: string; wait_ms: number }[],
  batches: readonly (readonly Event[])[],
  processor: Fold<never>,
): Promise<{ log: Log; blobs: ReturnType<typeof memoryBlobs> }> {
  const outside = await fresh(broker)
  const blobs = memoryBlobs()
  const left = [...batches]
  let next: 'before' | 'after' | undefined
  let minute = 0
  const running = new Set<{ stop: AbortController; handle: ReturnType<typeof memoryLog>; done: Promise<void> }>()
  let instance = 0
  const start = () => {
    const handle = memoryLog({ broker })
    const stop = new AbortController()
    const worker = new Worker({
      log: failing(handle, () => {
        const fate = next
        next = undefined
        return fate
      }),
      blobs,
      processor,
      vocabulary,
      partitions: PARTITIONS,
      instance: `faulty-${instance++}`,
      tuning: {
        commit_interval_ms: 2,
        session_timeout_ms: 30,
        snapshot_every: 3,
        max_bugs: 1e9,
        max_unsaved_bytes: 600,
      },
    })
    running.add({ stop, handle, done: worker.run(stop.signal) })
  }
  const [first, ...rest] = left
  await append(outside, ...(first ?? []))
  start()
  for (const { kind, wait_ms } of plan) {
    await pause(wait_ms)
    if (kind === 'before' || kind === 'after') next = kind
    if (kind === 'second worker' && running.size < 3) start()
    if (kind === 'append') await append(outside, ...(rest.shift() ?? []))
    if (kind === 'tick') {
      minute += 2
      const time = new Date(Date.parse('2026-01-01T00:00:00.000Z') + minute * 60_000).toISOString()
      await append(outside, tick('virtual', time))
    }
    if (kind !== 'crash' && kind !== 'restart') continue
    const [one] = running
    if (one === undefined) continue
    running.delete(one)
    if (kind === 'crash') one.handle.crash()
    one.stop.abort()
    if (kind === 'restart') await one.done
    if (running.size === 0) start()
  }
  for (const batch of rest) await append(outside, ...batch)
  for (const { stop, done } of running) {
    stop.abort()
    await done
  }
  await pause(40)
  await runUntilRead({ log: outside, processor, blobs, tuning: { max_bugs: 1e9, session_timeout_ms: 30 } })
  return { log: outside, blobs }
}

describe('through crashes, failed and unanswered commits, restarts and rebalances', () => {
  test('outputs are those of a run without faults, and verify passes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(input, { maxLength: 15 }), { maxLength: 6 }),
        faults,
        async (batches, plan) => {
          const events = batches.map((batch) => batch.map(({ who, amount }) => add(who, amount)))
          const calm = await fresh()
          for (const batch of events) await append(calm, ...batch)
          await runUntilRead({ log: calm, tuning: { max_bugs: 1e9 } })
          const processor = counting() as unknown as Fold<never>
          const { log, blobs } = await throughFaults(
            new MemoryBroker(),
            plan.filter(({ kind }) => kind !== 'tick'),
            events,
            processor,
          )
          for (const who of KEYS) expect(await sumsOf(log, who)).toEqual(await sumsOf(calm, who))
          const letters = async (of: Log) => (await recordsOf(of, DEAD_LETTERS_TOPIC)).length
          expect(await letters(log)).toBe(await letters(calm))
          expect(await verified(log, processor, blobs)).toMatchObject({ differences: 0 })
        },
      ),
      { numRuns: 12 },
    )
  }, 60_000)

  test('with two topics and ticks every input is journalled once, and verify passes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(input, { maxLength: 10 }), { maxLength: 6 }),
        faults,
        async (batches, plan) => {
          const events = batches.map((batch) =>
            batch.map(({ who, amount }, at) => known((at % 3 === 0 ? double(who) : add(who, amount)) as Event)),
          )
          const processor = timed() as unknown as Fold<never>
          const { log, blobs } = await throughFaults(new MemoryBroker(), plan, events, processor)
          const entries = (await recordsOf(log, journalTopic('count'))).map(
            ({ value }) =>
              JSON.parse(Buffer.from(value ?? []).toString()) as { runs: [number, number][]; topics: string[] },
          )
          const read = entries.flatMap(({ runs, topics }) => runs.map(([of, count]) => [topics[of], count] as const))
          for (const topic of [added.type, doubled.type]) {
            const total = read.filter(([of]) => of === topic).reduce((sum, [, count]) => sum + count, 0)
            expect(total).toBe((await recordsOf(log, topic)).length)
          }
          expect(await verified(log, processor, blobs)).toMatchObject({ differences: 0 })
        },
      ),
      { numRuns: 12 },
    )
  }, 60_000)
})

describe('a snapshot', () => {
  test('of a partition that another worker has taken over meanwhile is refused', async () => {
    const broker = new MemoryBroker()
    const log = await fresh(broker)
    const keys = Array.from({ length: 40 }, (_, at) => `key-${at}`)
    const blobs = memoryBlobs()
    await append(log, ...keys.map((key) => add(key, 1)))
    await runUntilRead({ log, blobs, tuning: { snapshot_every: 1e9 } })

    // It restores both partitions, commits to partition 1, and is stopped (SIGSTOP) in its snapshot of partition 0.
    const silent = memoryLog({ broker, heartbeats: 'poll' })
    let held: (() => void) | undefined
    const stopped = changed(blobs, {
      put: async (bytes: Uint8Array, media_type: string) => {
        await new Promise<void>((resolve) => {
          held = resolve
        })
        return await blobs.put(bytes, media_type)
      },
    })
    const stop = new AbortController()
    const worker = new Worker({
      log: silent,
      blobs: stopped,
      processor: counting(),
      vocabulary,
      partitions: PARTITIONS,
      instance: 'stopped',
      tuning: { commit_interval_ms: 1, session_timeout_ms: 200, snapshot_every: 5 },
    })
    const running = worker.run(stop.signal)
    const there = keys.find((key) => partitionOf(key, PARTITIONS) === 1) as string
    await append(log, add(there, 1))
    while (held === undefined) await pause(5)
    await pause(250)
    await append(log, ...keys.map((key) => add(key, 10)))
    await runUntilRead({ log, blobs, tuning: { snapshot_every: 1e9, session_timeout_ms: 200 } })
    stop.abort()
    held()
    await running
    await append(log, ...keys.map((key) => add(key, 100)))
    await runUntilRead({ log, blobs })
    const wrong = []
    for (const key of keys) {
      const expected = key === there ? 112 : 111
      const sum = (await sumsOf(log, key)).at(-1)
      if (sum !== expected) wrong.push([key, sum])
    }
    expect(wrong).toEqual([])
  }, 20_000)

  test('is correct in a copy of the log whose offsets differ', async () => {
    const log = await fresh()
    const blobs = memoryBlobs()
    for (let at = 0; at < 20; at++) {
      await append(log, add('ann', 1), add('bob', 1))
      if (at % 5 === 0) await runUntilRead({ log, blobs, tuning: { snapshot_every: 2 } })
    }
    await runUntilRead({ log, blobs, tuning: { snapshot_every: 1e9 } })
    expect((await recordsOf(log, SNAPSHOTS_TOPIC)).length).toBeGreaterThan(0)
    const copy = await fresh()
    const producer = await copy.producer({ transactional_id: 'copy' })
    const transaction = producer.begin()
    for (const { name } of TOPICS) {
      for (const record of await recordsOf(log, name)) transaction.append(name, record.partition, record)
    }
    await transaction.commit()
    await append(copy, add('ann', 1), add('bob', 1))
    await runUntilRead({ log: copy, blobs })
    expect((await sumsOf(copy, 'ann')).at(-1)).toBe(21)
    expect((await sumsOf(copy, 'bob')).at(-1)).toBe(21)
  })
})

test('a log that stays full is retried at ever longer intervals', async () => {
  const log = await fresh()
  await append(log, add('ann', 1))
  const events: WorkerEvent[] = []
  const stop = new AbortController()
  const worker = new Worker({
    log: failing(log, () => 'before'),
    blobs: memoryBlobs(),
    processor: counting(),
    vocabulary,
    partitions: PARTITIONS,
    instance: 'full',
    onEvent: (event) => events.push(event),
    tuning: { commit_interval_ms: 5 },
  })
  const running = worker.run(stop.signal)
  await pause(1_500)
  stop.abort()
  await running
  const waits = events.flatMap((event) => (event.kind === 'retrying' ? [event.wait_ms] : []))
  expect(Math.max(...waits)).toBeGreaterThan(200)
})

test('bugs are counted once, however often a commit fails', async () => {
  const log = await fresh()
  await append(log, ...Array.from({ length: 5 }, () => add('ann', -2)))
  let failures = 8
  const events = await runUntilRead({ log: failing(log, () => (failures-- > 0 ? 'before' : undefined)) })
  expect(events).toContainEqual(expect.objectContaining({ kind: 'committed', dead_letters: 5 }))
})

test('offsets of an aborted transaction do not count as lag', async () => {
  const log = await fresh()
  await append(log, add('ann', 1))
  await runUntilRead({ log })
  const producer = await log.producer({ transactional_id: 'aborting' })
  const transaction = producer.begin()
  transaction.append(added.type, 0, { key: null, headers: [], value: null })
  await transaction.abort()
  await runUntilRead({ log })
  expect(await lagOf(log, 'count', [added.type, doubled.type])).toBe(0n)
})

describe('verify', () => {
  test('passes when a record in the wrong topic has the id of one in the right topic', async () => {
    const log = await fresh()
    await append(log, add('ann', 1))
    const [record] = await recordsOf(log, added.type)
    if (record === undefined) throw new Error('the record is gone')
    await appendRaw(log, doubled.type, record.partition, record)
    await runUntilRead({ log })
    expect(await verified(log, counting() as unknown as Fold<never>)).toMatchObject({ differences: 0, equal: 1 })
  })

  test('passes when a key could not expire on one tick and could on a later one, after a restart', async () => {
    const log = await fresh()
    const late = '2026-01-01T00:10:00.000Z'
    const processor = timed({
      expire: (state, now, emit) => {
        if (now.time < late) throw new Error('cannot expire yet')
        return timed().expire?.(state, now, emit, undefined)
      },
    }) as unknown as Fold<never>
    await append(log, known(add('ann', 1)))
    await runUntilRead({ log, processor })
    await append(log, tick('virtual', '2026-01-01T00:05:00.000Z'))
    await runUntilRead({ log, processor })
    await append(log, tick('virtual', late))
    await runUntilRead({ log, processor })
    expect(await sumsOf(log, 'ann')).toEqual([1, 1])
    expect(await verified(log, processor)).toMatchObject({ differences: 0 })
  })

  test('names an event that was accepted and fails in the rebuild', async () => {
    const log = await fresh()
    await append(log, add('ann', 1), add('ann', 2))
    await runUntilRead({ log })
    const broken = counting({
      apply: (state, event, emit) => {
        if (isA(event, added) && event.data.amount === 2) throw new Error('today this fails')
        return counting().apply(state, event, emit, undefined)
      },
    })
    expect(await verified(log, broken as unknown as Fold<never>)).toMatchObject({
      differences: 3,
      first: { kind: 'failed', message: expect.stringContaining('today this fails') },
    })
  })
})

test('a key that fails to expire is tried again on the next tick, without a restart', async () => {
  const processor = timed({
    expire: (state, now, emit) => {
      if (now.time < '2026-01-01T00:10:00.000Z') throw new Error('cannot expire yet')
      return timed().expire?.(state, now, emit, undefined)
    },
  })
  const execution = execute(processor)
  await execution.process([known(add('ann', 1)), tick('virtual', '2026-01-01T00:05:00.000Z')])
  const { outputs } = await execution.process([tick('virtual', '2026-01-01T00:10:00.000Z')])
  expect(outputs).toHaveLength(1)
})

test('an event whose new state has a failing deadline leaves the state as it was', async () => {
  const processor = timed({
    deadline: ({ sum, until }) => {
      if (sum === 3) throw new Error('no deadline for 3')
      return { clock: 'virtual', time: until }
    },
  })
  const execution = execute(processor)
  await execution.process([known(add('ann', 1))])
  const { failures } = await execution.process([known(add('ann', 2))])
  expect(failures).toHaveLength(1)
  expect(execution.states().find(([key]) => key === 'ann')?.[1]).toMatchObject({ sum: 1 })
})

test('a fold that sets a deadline in the past again and again stops the worker instead of being retried', async () => {
  const log = await fresh()
  await append(log, known(add('ann', 1)), tick('virtual', '2026-01-01T00:05:00.000Z'))
  const processor = timed({ expire: (state) => state })
  const events: WorkerEvent[] = []
  const run = runUntilRead({ log, processor, onEvent: (event) => events.push(event) })
  const outcome = await Promise.race([
    run.then(
      () => 'read',
      () => 'stopped',
    ),
    pause(1_000).then(() => 'retried'),
  ])
  expect(outcome).not.toBe('retried')
})

test('the clocks of several processes tick concurrently', async () => {
  const log = await fresh()
  const on = { log, blobs: memoryBlobs(), partitions: PARTITIONS }
  const clocks = Array.from({ length: 5 }, (_, at) => Clock.open(on, `process-${at}`))
  await Promise.all(clocks.map((clock, at) => clock.tick('wall', `2026-01-01T00:00:0${at}.000Z`)))
  expect(await recordsOf(log, clockTicked.type)).toHaveLength(5 * PARTITIONS)
  for (const clock of clocks) await clock.close()
})
