import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Log, Transaction } from '../../infra/log/port/log.ts'
import { NEVER_ABORTED } from '../../infra/runtime/execute/reach.ts'
import { TRAINING_EVENTS } from '../../schemas/events/training.ts'
import { changed, FeedLog, NO_METRICS, SUBSCRIPTION } from '../../testing/feed-log.ts'
import { namesOf } from './consumer-state.ts'
import type { Leased } from './decide/lease.ts'
import { eventsOf } from './history.ts'
import type { OpenConsumer } from './open-consumer.ts'

const away = () => Object.assign(new Error('away'), { retry: 'later' })

/** Transactions that begin to commit, and wait until the test lets them. */
class Gate {
  is_closed = false
  /** Training events of each transaction that was committed. */
  readonly transactions: number[] = []
  #waiting: { readonly open: () => void; readonly fail: (error: Error) => void }[] = []

  of(log: Log): Log {
    const producer: Log['producer'] = async (options) => {
      const made = await log.producer(options)
      const begin = (): Transaction => {
        const transaction = made.begin()
        let events = 0
        return {
          append: (topic, partition, record) => {
            if (topic.startsWith('training.')) events++
            transaction.append(topic, partition, record)
          },
          positions: (claim, positions) => transaction.positions(claim, positions),
          standalonePositions: (group, positions) => transaction.standalonePositions(group, positions),
          commit: async () => {
            try {
              if (this.is_closed) await new Promise<void>((open, fail) => this.#waiting.push({ open, fail }))
            } catch (error) {
              await transaction.abort()
              throw error
            }
            await transaction.commit()
            if (events > 0) this.transactions.push(events)
          },
          abort: () => transaction.abort(),
        }
      }
      return { begin, close: () => made.close() }
    }
    return changed(log, { producer })
  }

  /** Resolves when a transaction waits. */
  async waits(): Promise<void> {
    while (this.#waiting.length === 0) await pause(1)
  }

  open(): void {
    this.is_closed = false
    for (const { open } of this.#waiting.splice(0)) open()
  }

  fail(error: Error): void {
    this.is_closed = false
    for (const { fail } of this.#waiting.splice(0)) fail(error)
  }
}

let log: FeedLog
let gate: Gate
let lab: OpenConsumer
let epoch: number
let answered: string[]

beforeEach(async () => {
  log = await FeedLog.create()
  gate = new Gate()
  answered = []
  await log.form(12)
  lab = await open()
  await lab.subscribe(SUBSCRIPTION, 'beginning')
  ;({ epoch } = await lab.startRun({ run: 'r1', attempt: 'a', world_size: 4, resume: null, lineage: null }))
})
afterEach(async () => {
  gate.open()
  await log.close()
})

/** Without snapshots, which are committed too. */
const open = async () => {
  const observe = (stage: string) => void answered.push(stage)
  const feed = log.feed({ log: gate.of(log.log), snapshot_events: Number.POSITIVE_INFINITY, observe })
  return await feed.consumer('lab', 'open')
}

function lease(rank: number, request = `request of ${rank}`): Promise<Leased | undefined> {
  const wanted = { epoch, rank, request, groups: 1, bytes: 2 ** 20 }
  return told(`lease ${rank}`, lab.lease(wanted, 0, NEVER_ABORTED))
}

function begin(rank: number, { lease, groups }: Leased, step = 1): Promise<number> {
  const held = groups.map(({ sequence }) => ({ sequence, lease }))
  return told(`begin ${rank}`, lab.beginStep({ epoch, rank, step, groups: held }))
}

const applied = (rank: number) => told(`applied ${rank}`, lab.applied({ epoch, rank, step: 1, ...NO_METRICS }))

/** Notes when a call is answered, or refused. */
function told<A>(name: string, call: Promise<A>): Promise<A> {
  const note = () => void answered.push(name)
  call.then(note, note)
  return call
}

/** Longer than any call takes that waits for no commit. */
const moment = () => pause(30)

async function numbers(): Promise<number[]> {
  const found: number[] = []
  for await (const event of eventsOf(log.reading, 'lab')) found.push(namesOf(event).number)
  return found
}

test('calls that come while a commit is under way share the next one, and none is answered before its own', async () => {
  answered = []
  gate.is_closed = true
  const first = lease(0)
  await gate.waits()
  const before = gate.transactions.length
  const others = [lease(1), lease(2), lease(3)]
  await moment()
  expect(answered).toEqual(['decided'])
  gate.open()
  const leases = await Promise.all([first, ...others])
  expect(leases.map((leased) => leased?.groups.map(({ sequence }) => sequence))).toEqual([[0], [1], [2], [3]])
  expect(gate.transactions.slice(before)).toEqual([1, 3])
  // The second transaction begins before the first call hears of its own.
  expect(answered.indexOf('lease 0')).toBeGreaterThan(answered.indexOf('committed'))
  expect(answered.slice(-3)).toEqual(['lease 1', 'lease 2', 'lease 3'])
  expect(answered.lastIndexOf('committed')).toBeLessThan(answered.indexOf('lease 1'))
  expect(await numbers()).toEqual(Array.from({ length: lab.state.number }, (_, at) => at + 1))
})

test('nothing shows what is decided and not committed: answers that rest on it wait, and metrics have what was before', async () => {
  const leased = (await lease(0)) as Leased
  gate.is_closed = true
  const { counts, number } = lab.standing
  const first = [begin(0, leased), lease(1)]
  await gate.waits()
  await moment()
  answered = []
  const waiting = [
    ...first,
    // Repeated: no event, but the answers tell of the first ones.
    begin(0, leased),
    lease(1),
    told(
      'out of order',
      begin(0, leased, 5).catch(({ code }) => code),
    ),
    told('heartbeat', lab.heartbeat({ epoch, rank: 0 })),
    told('behind', lab.behind()),
    told(
      'not begun',
      lab.applied({ epoch, rank: 3, step: 1, ...NO_METRICS }).catch(({ code }) => code),
    ),
  ]
  await moment()
  expect(answered).toEqual([])
  expect(lab.standing).toMatchObject({ counts, number })
  expect(lab.state.number).toBeGreaterThan(number)
  gate.open()
  const [begun, one, again, repeated, out_of_order, beats, behind, not_begun] = await Promise.all(waiting)
  expect([begun, again, out_of_order, not_begun]).toEqual([1, 1, 'out_of_order', 'not_begun'])
  for (const answer of [one, repeated]) expect(answer).toMatchObject({ lease: 2, groups: [{ sequence: 1 }] })
  expect([beats, behind]).toEqual([[0], 12 - lab.state.next_sequence])
  expect(lab.standing).toMatchObject({ counts: lab.state.counts, number: lab.state.number })
})

test('a new epoch fences the old one only once it is committed, and a call of the old one waits for that', async () => {
  gate.is_closed = true
  const started = told('start', lab.startRun({ run: 'r2', attempt: 'b', world_size: 1, resume: null, lineage: null }))
  await gate.waits()
  answered = []
  const older = told(
    'older',
    lab.heartbeat({ epoch, rank: 0 }).catch(({ code }) => code),
  )
  await moment()
  expect(answered).toEqual([])
  expect(lab.standing.run).toMatchObject({ run: 'r1', epoch: 1 })
  gate.open()
  expect(await started).toMatchObject({ run: 'r2', epoch: 2 })
  expect(await older).toBe('fenced')
})

test('a commit that fails answers no call that was in it or came after it, and another feed knows of none of them', async () => {
  const leased = (await lease(0)) as Leased
  const before = await numbers()
  gate.is_closed = true
  const first = begin(0, leased)
  await gate.waits()
  const calls = [first, applied(0), lease(1), lab.heartbeat({ epoch, rank: 0 }), lab.behind()]
  await moment()
  const later = lease(2)
  gate.fail(away())
  const ends = await Promise.allSettled([...calls, later])
  expect(ends.map((end) => end.status === 'rejected' && end.reason.message)).toEqual(ends.map(() => 'away'))
  expect(lab.failure).toMatchObject({ message: 'away' })
  expect(await numbers()).toEqual(before)
  // As a trainer does: the same calls again.
  lab = await open()
  expect(lab.state.number).toBe(before.length)
  await begin(0, leased)
  await Promise.all([applied(0), lease(1), lease(2)])
  expect(lab.state.counts).toMatchObject({ applied: 1, leased: 2 })
  expect(await numbers()).toEqual(Array.from({ length: lab.state.number }, (_, at) => at + 1))
})

test('what a fenced feed has decided is neither answered nor in the log', async () => {
  const rival = await open()
  const before = await numbers()
  const calls = await Promise.allSettled([lease(0), lease(1), lease(2)])
  expect(calls.map((call) => call.status === 'rejected' && call.reason.name)).toEqual(Array(3).fill('RivalError'))
  expect(await numbers()).toEqual(before)
  lab = rival
  expect((await lease(0))?.groups).toMatchObject([{ sequence: 0 }])
})

test('closing commits what is decided, and answers it', async () => {
  gate.is_closed = true
  const calls = [lease(0), lease(1)]
  await gate.waits()
  answered = []
  const closing = told('closed', lab.close())
  await moment()
  expect(answered).toEqual([])
  gate.open()
  expect((await Promise.all(calls)).map((leased) => leased?.groups.length)).toEqual([1, 1])
  await closing
  await expect(lease(2)).rejects.toThrow('this feed is closed')
})

test('leases of all silent ranks end in one transaction', async () => {
  await Promise.all([lease(0), lease(1), lease(2)])
  const before = gate.transactions.length
  log.now_ms += 1_001
  await lab.expireLeases()
  expect(lab.state.counts).toMatchObject({ leased: 0 })
  expect(gate.transactions.slice(before)).toEqual([3])
})

test('what waits for one commit is bounded: further calls decide only after it', async () => {
  const RANKS = 32
  await log.form(RANKS, { from: 12 })
  const run = { run: 'r2', attempt: 'b', world_size: RANKS, resume: null, lineage: null }
  ;({ epoch } = await lab.startRun(run))
  const ranks = Array.from({ length: RANKS }, (_, rank) => rank)
  const leased = await Promise.all(ranks.map((rank) => lease(rank)))
  await Promise.all(ranks.map((rank) => begin(rank, leased[rank] as Leased)))
  const { number } = lab.state
  // About 400 KB each.
  const metrics = Object.fromEntries(Array.from({ length: 4_000 }, (_, at) => [`${at} ${'metric'.repeat(15)}`, at]))
  gate.is_closed = true
  const calls = ranks.map((rank) => lab.applied({ epoch, rank, step: 1, ...NO_METRICS, metrics }))
  await gate.waits()
  await moment()
  const decided = (lab.state.number - number) / 2
  expect(decided).toBeGreaterThan(8)
  expect(decided).toBeLessThan(RANKS)
  gate.open()
  expect(await Promise.all(calls)).toEqual(ranks.map(() => 1))
})

test('the events of every kind are read back in the order in which they were decided', async () => {
  const leased = await Promise.all([lease(0), lease(1), lease(2), lease(3)])
  await Promise.all(leased.map((one, rank) => begin(rank, one as Leased)))
  await Promise.all(leased.map((_, rank) => applied(rank)))
  const groups = leased.flatMap((one) => (one as Leased).groups.map(({ sequence }) => sequence))
  await lab.checkpoint({ epoch, checkpoint: 'c1', parent: null, step: 1, weights_sha256: 'w', groups })
  const types = new Set<string>()
  for await (const { type } of eventsOf(log.reading, 'lab')) types.add(type)
  expect([...types].every((type) => TRAINING_EVENTS.some((one) => one.type === type))).toBe(true)
  const again = await open()
  expect(again.state.stored()).toEqual(lab.state.stored())
})
