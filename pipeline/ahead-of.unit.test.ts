import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import type { Event } from '../schemas/declare/event.ts'
import { groupExpired, rolloutRequested } from '../schemas/events/rollout.ts'
import { completionsScored, scenePresented } from '../schemas/events/tower.ts'
import type { Wanted } from '../sinks/feed/decide/subscribe.ts'
import type { Feed } from '../sinks/feed/feed.ts'
import type { OpenConsumer } from '../sinks/feed/open-consumer.ts'
import { everyOf, type Pace, perSecond, UNPACED } from '../sources/pace.ts'
import { runSource } from '../sources/run-source.ts'
import type { Emitted } from '../sources/source.ts'
import { type TowerScenesOptions, towerScenes } from '../sources/tower-scenes.ts'
import { FeedLog, formed, SUBSCRIPTION } from '../testing/feed-log.ts'
import { testDriver, tick } from '../testing/test-driver.ts'
import { requested } from '../testing/tower-events.ts'
import { eventually } from '../tests/cli/plumbline.ts'
import { recordsOf } from '../tests/cli/whole-log.ts'
import { AheadOf, type AheadOfOptions, SILENT_MS } from './ahead-of.ts'

let log: FeedLog
let feed: Feed
let requests = 0
let told: string[] = []
let now_ms = 0

beforeEach(async () => {
  log = await FeedLog.create()
  feed = log.feed()
  told = []
  now_ms = 0
})
afterEach(() => log.close())

const ASKS = { origin: 'tower', task: 'x_only', purpose: 'train' as const }

function aheadOf(limits: Readonly<Record<string, number>>, options: Partial<AheadOfOptions> = {}): AheadOf {
  return new AheadOf({
    ...{ ...log.reading, limits: new Map(Object.entries(limits)), asks: ASKS, now_ms: () => now_ms },
    report: (message) => void told.push(message),
    ...options,
  })
}

/** What is permitted now; 0: it waits. It looks at the log at least once. */
const room = (pace: Pace) => pace.permit(AbortSignal.timeout(1))

async function subscribed(name = 'lab', wanted: Partial<Wanted> = {}, from: 'beginning' | 'now' = 'beginning') {
  const consumer = await feed.consumer(name, 'open')
  await consumer.subscribe({ ...SUBSCRIPTION, ...wanted }, from)
  return consumer
}

const begin = (consumer: OpenConsumer, resume: string | null = null) =>
  consumer.startRun({ run: 'r', attempt: `a${requests++}`, world_size: 1, resume, lineage: null })

/** @returns the sequence numbers */
async function lease(consumer: OpenConsumer, groups: number): Promise<number[]> {
  const epoch = consumer.state.run?.epoch ?? 0
  const wanted = { epoch, rank: 0, request: `q${requests++}`, groups, bytes: 2 ** 30 }
  const leased = await consumer.lease(wanted, 0, new AbortController().signal)
  return leased?.groups.map(({ sequence }) => sequence) ?? []
}

const rankOf = ({ state }: OpenConsumer) => ({ epoch: state.run?.epoch ?? 0, rank: 0 })

describe('room', () => {
  test('is for N groups that are asked for or formed, and leases make more of it', async () => {
    const lab = await subscribed()
    await begin(lab)
    const pace = aheadOf({ lab: 8 })
    expect(await room(pace)).toBe(8)
    await log.ask(8)
    expect(await room(pace)).toBe(0)
    await log.form(5)
    expect(await room(pace)).toBe(0)
    await lease(lab, 3)
    expect(await room(pace)).toBe(3)
    await lab.release(rankOf(lab), [{ sequence: 1, lease: lab.state.last_lease }])
    expect(await room(pace)).toBe(2)
    await lab.drop({ ...rankOf(lab), reason: 'by_consumer', detail: '', groups: [0] })
    expect(await room(pace)).toBe(2)
    expect(told).toEqual([])
  })

  test('counts what was committed here at once, and not again when it is read', async () => {
    await subscribed()
    const pace = aheadOf({ lab: 8 })
    await room(pace)
    const event = requested({ group_id: 'g0', task: 'x_only' })
    pace.taken(1, [{ type: rolloutRequested, event } satisfies Emitted])
    expect(await room(pace)).toBe(7)
    await log.append(event)
    expect(await room(pace)).toBe(7)
    await log.form(1)
    expect(await room(pace)).toBe(7)
    await log.expire('g0')
    expect(await room(pace)).toBe(7)
  })

  test('is made by groups that expire', async () => {
    await subscribed()
    const pace = aheadOf({ lab: 4 })
    await log.ask(4)
    expect(await room(pace)).toBe(0)
    await log.expire('g1', 'g2')
    expect(await room(pace)).toBe(2)
  })

  test('is not taken by groups that the filter leaves out', async () => {
    await subscribed('lab', { filter: { ...SUBSCRIPTION.filter, task: 'x_only', with_variance: true } })
    const pace = aheadOf({ lab: 9 })
    await log.ask(2, { task: 'x_y' })
    await log.ask(3, { from: 2 })
    expect(await room(pace)).toBe(6)
    await log.form(1, { from: 2 })
    await log.form(1, { from: 3, rewards: [1, 1] })
    await log.form(1, { from: 0, task: 'x_y' })
    // One is asked for, and one is formed with variance.
    expect(await room(pace)).toBe(7)
  })

  test('is not changed by the same event twice, nor by groups that another program writes', async () => {
    await subscribed('lab', { filter: { ...SUBSCRIPTION.filter, task: 'x_only' } })
    const pace = aheadOf({ lab: 9 })
    for (let time = 0; time < 2; time++) {
      await log.ask(2)
      expect(await room(pace)).toBe(7)
    }
    await log.append({ ...formed('g0'), source: '/elsewhere' })
    expect(await room(pace)).toBe(7)
    await log.expire('g0')
    await log.expire('g0')
    await log.ask(1)
    expect(await room(pace)).toBe(8)
    expect(await room(aheadOf({ lab: 9 }))).toBe(8)
  })

  test('is counted right in a copied log, where all groups stand before their requests', async () => {
    await subscribed()
    await log.form(3)
    await new Promise((resolve) => setTimeout(resolve, 5))
    await log.ask(4)
    expect(await room(aheadOf({ lab: 8 }))).toBe(4)
  })

  test('is not taken by what was formed before a subscription that begins now', async () => {
    await log.ask(5)
    await log.form(4)
    const pace = aheadOf({ lab: 8 })
    expect(await room(pace)).toBe(3)
    await subscribed('lab', {}, 'now')
    expect(await room(pace)).toBe(7)
  })

  test('is taken again by what a run rolls back', async () => {
    const lab = await subscribed()
    await begin(lab)
    await log.ask(4)
    await log.form(4)
    const groups = (await lease(lab, 3)).map((sequence) => ({ sequence, lease: 1 }))
    await lab.beginStep({ ...rankOf(lab), step: 1, groups })
    await lab.applied({ ...rankOf(lab), step: 1, loss: 1, grad_norm: 1, tokens: 1, seconds: 1, metrics: {} })
    const pace = aheadOf({ lab: 4 })
    expect(await room(pace)).toBe(3)
    await begin(lab)
    expect(await room(pace)).toBe(0)
  })
})

describe('consumers', () => {
  test('the slowest of several governs', async () => {
    const [lab, other] = [await subscribed('lab'), await subscribed('other')]
    await begin(lab)
    await begin(other)
    const pace = aheadOf({ lab: 8, other: 4 })
    expect(await room(pace)).toBe(4)
    await log.ask(4)
    await log.form(4)
    await lease(lab, 4)
    expect(await room(pace)).toBe(0)
    await lease(other, 1)
    expect(await room(pace)).toBe(1)
  })

  test('one that has not subscribed has taken nothing, which is reported once', async () => {
    const pace = aheadOf({ lab: 4 })
    expect(await room(pace)).toBe(4)
    await log.ask(3)
    await log.ask(1, { from: 3, task: 'x_y' })
    expect(await room(pace)).toBe(1)
    await log.form(3)
    expect(await room(pace)).toBe(1)
    expect(told).toEqual(['no consumer lab has subscribed yet: generation asks for 4 groups and then waits for it'])
    // It wants more than was assumed.
    const lab = await subscribed()
    expect(await room(pace)).toBe(0)
    await begin(lab)
    await lease(lab, 2)
    expect(await room(pace)).toBe(2)
    expect(told).toHaveLength(1)
  })

  test('one that has retired no longer counts; without any other, the rate does', async () => {
    const [lab] = [await subscribed('lab'), await subscribed('other')]
    const slow: Pace = { permit: async () => 1, taken: () => {} }
    const pace = aheadOf({ lab: 2, other: 6 }, { otherwise: slow })
    await log.ask(3)
    expect(await room(pace)).toBe(0)
    await lab.retire('over')
    expect(await room(pace)).toBe(3)
    await (await feed.consumer('other')).retire('over too')
    expect(await room(pace)).toBe(1)
    expect(await room(aheadOf({ lab: 2 }))).toBe(Number.POSITIVE_INFINITY)
    expect(told.slice(0, 2)).toEqual([
      'the consumer lab has retired and no longer limits generation (over); the others still do',
      'the consumer other has retired and no longer limits generation (over too); no other one is named: generation goes on at its rate',
    ])
  })

  test('one that is silent while it has no room is reported once, until it does something', async () => {
    const lab = await subscribed()
    await begin(lab)
    const pace = aheadOf({ lab: 2 })
    await log.ask(2)
    await log.form(2)
    const pass = async (ms: number) => {
      now_ms += ms
      expect(await room(pace)).toBe(0)
    }
    await pass(0)
    await pass(SILENT_MS - 1)
    expect(told).toEqual([])
    await pass(1)
    await pass(SILENT_MS)
    expect(told).toEqual([
      'generation waits for the consumer lab, which has done nothing for 10 minutes (2 formed groups wait for it, 0 were asked for and have not formed; at most 2 may be ahead of it): start its trainer, or retire it: DELETE /v1/consumers/lab',
    ])
    await begin(lab)
    await pass(0)
    await pass(SILENT_MS)
    expect(told).toHaveLength(2)
  })
})

test('after any history, a generator that starts counts as one that has seen it happen', async () => {
  const step = fc.oneof(
    fc.record({ what: fc.constantFrom('ask', 'form', 'expire', 'lease'), groups: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ what: fc.constantFrom('look', 'release', 'drop', 'resume', 'subscribe'), groups: fc.constant(1) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.boolean(), async (steps, is_choosy) => {
      const history = await FeedLog.create()
      try {
        const filter = { ...SUBSCRIPTION.filter, with_variance: is_choosy }
        const lab = await history.feed().consumer('lab', 'open')
        const subscribe = async () => {
          if (lab.state.subscription !== undefined) return
          await lab.subscribe({ ...SUBSCRIPTION, filter }, 'beginning')
          await begin(lab)
        }
        const options = { ...history.reading, limits: new Map([['lab', 1_000]]), asks: ASKS, report: () => {} }
        const pace = new AheadOf(options)
        let asked = 0
        const open: number[] = []
        for (const { what, groups } of steps) {
          const is_leasing = lab.state.subscription !== undefined
          const leased = [...lab.state.open.values()].filter(({ state }) => state === 'leased').slice(0, 1)
          const sequences = leased.map(({ sequence }) => sequence)
          const held = leased.map(({ sequence, lease }) => ({ sequence, lease: lease?.lease ?? 0 }))
          if (what === 'look') await room(pace)
          else if (what === 'subscribe') await subscribe()
          else if (what === 'ask') {
            await history.ask(groups, { from: asked })
            for (let one = 0; one < groups; one++) open.push(asked++)
          } else if (what === 'form' || what === 'expire') {
            for (const at of open.splice(0, groups)) {
              if (what === 'form') await history.form(1, { from: at })
              else await history.expire(`g${at}`)
            }
          } else if (!is_leasing) continue
          else if (what === 'lease') await lease(lab, groups)
          else if (what === 'resume') await begin(lab)
          else if (what === 'release') await lab.release(rankOf(lab), held)
          else await lab.drop({ ...rankOf(lab), reason: 'by_consumer', detail: '', groups: sequences })
        }
        await subscribe()
        const formed_now = (await recordsOf(history.log, 'rollout.group_formed')).length
        const { leased, applied } = lab.state.open.counts
        const expected = 1_000 - open.length - (formed_now - leased - applied - lab.state.counts.dropped)
        expect(await room(pace)).toBe(expected)
        expect(await room(new AheadOf(options))).toBe(expected)
      } finally {
        await history.close()
      }
    }),
    { numRuns: 60 },
  )
})

describe('a generator', () => {
  const TOWER: TowerScenesOptions = {
    ...{ dataset: 'side_block', task: 'x_only', split: 'train', variant: 'plain', purpose: 'train' },
    ...{ scenes: Number.POSITIVE_INFINITY, seed: '7', group_size: 2, round: 0 },
  }
  const eventsOf = async <T>(topic: string): Promise<T[]> => {
    const records = await recordsOf(log.log, topic)
    return records.map(({ key, headers, value }) => ({
      ...{ key, headers: Object.fromEntries(headers.map(({ name, value: text }) => [name, text])) },
      data: JSON.parse(Buffer.from(value ?? []).toString()),
    })) as T[]
  }
  interface Request {
    readonly key: string
    readonly headers: Readonly<Record<string, string>>
    readonly data: { readonly deadline: { readonly clock: 'wall' | 'virtual'; readonly time: string } }
  }
  const requestsThere = () => eventsOf<Request>(rolloutRequested.type)

  test('of which all requests are lost goes on after their deadline', async () => {
    await subscribed()
    const stop = new AbortController()
    let time_ms = Date.parse('2026-03-01T00:00:00.000Z')
    const now = () => new Date(time_ms).toISOString()
    const { log: into, blobs, partitions } = log.reading
    const running = runSource(towerScenes({ ...TOWER, now }, log.blobs), {
      ...{ log: into, blobs, partitions, signal: stop.signal, pace: aheadOf({ lab: 6 }) },
    })
    await eventually(async () => (await requestsThere()).length >= 6)
    // The requests reach the processor, and no completion ever does.
    const groups = testDriver(formGroups({ dialect: 'paper', scored: [completionsScored] }))
    const lost = await requestsThere()
    expect(lost).toHaveLength(6)
    const deadline = '2026-03-01T00:10:00.000Z'
    for (const { data, headers } of lost) {
      expect(data.deadline).toEqual({ clock: 'wall', time: deadline })
      expect(headers).toMatchObject({ ce_clock: 'wall', ce_time: '2026-03-01T00:00:00.000Z' })
    }
    await groups.given(...lost.map(({ data, key }) => requested({ ...data, group_id: key }, `asked-${key}`)))
    time_ms += 600_000
    await groups.when(tick('wall', now()))
    const expired: readonly Event[] = groups.emitted(groupExpired)
    expect(expired).toHaveLength(6)
    expect(await requestsThere()).toHaveLength(6)
    await log.append(...expired)
    await eventually(async () => (await requestsThere()).length >= 12)
    stop.abort()
    await running
    expect(await requestsThere()).toHaveLength(12)
  })

  test('that waits asks for the same groups as one that does not: other are only time and deadline of the requests', async () => {
    const lab = await subscribed()
    await begin(lab)
    const there = async () => {
      const timeless = (await requestsThere()).map(({ data, headers, key }) => {
        const { deadline: _, ...rest } = data
        const { ce_time: _time, ce_clock: _clock, ...envelope } = headers
        return JSON.stringify({ key, envelope, rest })
      })
      return {
        requests: timeless.sort(),
        scenes: (await eventsOf(scenePresented.type)).map((one) => JSON.stringify(one)).sort(),
      }
    }
    const { log: into, blobs, partitions } = log.reading
    const stop = new AbortController()
    const now = () => new Date().toISOString()
    const running = runSource(towerScenes({ ...TOWER, now }, log.blobs), {
      ...{ log: into, blobs, partitions, signal: stop.signal },
      pace: everyOf([perSecond(1_000), aheadOf({ lab: 3 })]),
    })
    for (let asked = 3; asked <= 9; asked += 3) {
      await eventually(async () => (await requestsThere()).length >= asked)
      expect(await requestsThere()).toHaveLength(asked)
      const open = (await requestsThere()).slice(0)
      if (asked < 9) await log.append(...open.map(({ key }) => formed(key, { time: '2026-01-01T00:00:00.000Z' })))
      if (asked < 9) await lease(lab, 1_000)
    }
    stop.abort()
    await running
    const paused = await there()
    await log.close()
    log = await FeedLog.create()
    const plain = log.reading
    await runSource(towerScenes({ ...TOWER, scenes: 9 }, log.blobs), {
      ...{ log: plain.log, blobs: plain.blobs, partitions: plain.partitions, pace: UNPACED },
    })
    const unpaused = await there()
    expect(paused.requests).toHaveLength(9)
    expect(paused).toEqual(unpaused)
  })

  test('outlives a log that cannot be read for a while', async () => {
    await subscribed()
    const stop = new AbortController()
    const { log: into, blobs, partitions } = log.reading
    const pace = aheadOf({ lab: 2 })
    let failing = true
    const reported: string[] = []
    const running = runSource(towerScenes(TOWER, log.blobs), {
      ...{ log: into, blobs, partitions, signal: stop.signal, report: (message) => void reported.push(message) },
      pace: {
        permit(signal) {
          if (!failing) return pace.permit(signal)
          failing = false
          throw Object.assign(new Error('the log is away'), { retry: 'later' })
        },
        taken: (steps, emitted) => pace.taken(steps, emitted),
      },
    })
    await eventually(async () => (await requestsThere()).length >= 2)
    stop.abort()
    await running
    expect(reported).toEqual([expect.stringContaining('the log is away'), expect.stringContaining('goes on')])
  })
})
