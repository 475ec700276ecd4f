import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { MemoryLog } from '../../../infra/log/memory/memory-log.ts'
import { rowsOf } from '../../../schemas/declare/event.ts'
import { catalogue } from '../../../streams/vocabulary.ts'
import { append } from '../../../testing/duckdb/recorded-tower.ts'
import { appendTold, type FedConsumer, FormedGroups, type Told } from '../../../testing/duckdb/recorded-training.ts'
import { PretendFeed } from '../../../testing/duckdb/training-history.ts'
import { type Ask, type Formed, form, type Row, tables, time } from '../../../testing/duckdb/training-tables.ts'

/** The ledger as a loop over the events of a consumer in their order. */
function foldOf(told: readonly Told[]): Map<string, Row> {
  const fold = new Map<string, Row>()
  for (const { type, event } of told) {
    for (const { group_id, number, run, epoch, sequence, rank, step, reason, ...row } of rowsOf(event)) {
      if (group_id === undefined) continue
      const before = fold.get(group_id as string) ?? { ...UNTOUCHED }
      const now: Row = { ...before, run, epoch: String(epoch) }
      if (sequence !== null) now.sequence = String(sequence)
      if (rank !== undefined) now.rank = rank
      const at = time(number as number)
      switch (type.type) {
        case 'training.groups_leased':
          if (row.lease === null) Object.assign(now, { state: 'waiting' }, NOTHING_DONE)
          else Object.assign(now, { state: 'leased', leased_at: at, times_leased: more(now.times_leased) })
          break
        case 'training.step_begun':
          // It may use an applied group again.
          now.step = String(step)
          break
        case 'training.groups_applied':
          Object.assign(now, { state: 'applied', step: String(step), applied_at: at })
          break
        case 'training.checkpoint_saved':
          Object.assign(now, { state: 'durable', checkpoint: row.checkpoint, durable_at: at })
          break
        case 'training.groups_dropped':
          Object.assign(now, { state: 'dropped', reason })
          break
        case 'training.rolled_back':
          now.times_rolled_back = more(now.times_rolled_back)
          Object.assign(now, { state: 'waiting' }, NOTHING_DONE)
          break
        case 'training.lease_ended':
          Object.assign(now, { state: 'waiting' }, NOTHING_DONE)
      }
      fold.set(group_id as string, now)
    }
  }
  return fold
}
const more = (times: unknown) => String(Number(times) + 1)
const NOTHING_DONE = { step: null, checkpoint: null, leased_at: null, applied_at: null, durable_at: null }
const UNTOUCHED: Row = {
  run: null,
  epoch: null,
  state: 'waiting',
  sequence: null,
  rank: null,
  reason: null,
  times_leased: '0',
  times_rolled_back: '0',
  ...NOTHING_DONE,
}

interface Known {
  readonly fed: FedConsumer
  readonly matches: (group: Formed) => boolean
}

/** Every row of `ledger` and, of `consumers`, what is counted. */
function expectedOf(known: readonly Known[], loaded: readonly Formed[]): { ledger: Row[]; counts: Row[] } {
  const ledger: Row[] = []
  const counts: Row[] = []
  for (const { fed, matches } of known) {
    const fold = foldOf(fed.told)
    const retired = fed.told.some(({ type }) => type.type === 'training.consumer_retired')
    const rows = loaded
      .filter(matches)
      .map(({ place: { group_id, partition, offset } }) => {
        const where = { log_partition: partition, log_offset: String(offset) }
        return { consumer: fed.consumer, group_id, ...where, ...(fold.get(group_id) ?? UNTOUCHED) } as Row
      })
      .filter(({ state }) => !retired || state === 'durable' || state === 'dropped')
    ledger.push(...rows)
    const count = (state: string) => String(rows.filter((row) => row.state === state).length)
    counts.push({
      consumer: fed.consumer,
      retired,
      matching: String(rows.length),
      ...Object.fromEntries(STATES.map((state) => [state, count(state)])),
      lost: '0',
      not_subscribed: String(loaded.length - rows.length),
      ahead: String(fold.size - loaded.filter(({ place }) => fold.has(place.group_id)).length),
      events: String(fed.number),
      missing: '0',
    })
  }
  return { ledger, counts }
}
const STATES = ['waiting', 'leased', 'applied', 'durable', 'dropped']
const LEDGER = `
  SELECT * EXCLUDE (policy_version_oldest, lineage, reward_mean, leased_at, applied_at, durable_at),
    leased_at::VARCHAR AS leased_at, applied_at::VARCHAR AS applied_at, durable_at::VARCHAR AS durable_at
  FROM ledger`
const COUNTS = `SELECT consumer, retired, matching, ${STATES}, lost, not_subscribed, ahead, events, missing FROM consumers`
const sorted = (rows: readonly Row[]) =>
  rows.toSorted((one, other) => `${one.consumer} ${one.group_id}`.localeCompare(`${other.consumer} ${other.group_id}`))

const deed = fc.record({
  who: fc.constantFrom('lab', 'lab', 'lab', 'picky', 'picky', 'environment', 'environment', 'sink'),
  pick: fc.nat({ max: 2 ** 20 }),
})

interface Live {
  readonly known: readonly Known[]
  /** In the log: groups may reach it after the events that name them. */
  readonly loaded: readonly Formed[]
  readonly told: readonly Told[]
  readonly formed: readonly Formed[]
  readonly did: string
}

/** A history of two consumers, deed by deed, with what each of them adds to the log. */
function* lives(deeds: readonly { who: string; pick: number }[]): Generator<Live> {
  const places = new FormedGroups()
  const feeds = [new PretendFeed('lab'), new PretendFeed('picky')]
  const wants: readonly Known['matches'][] = [
    () => true,
    ({ task, flat, place }) => task === 'x_only' && !flat && (place.partition === 0 || place.offset >= 4),
  ]
  const known = feeds.map(({ fed }, at) => ({ fed, matches: wants[at] as Known['matches'] }))
  feeds[0]?.fed.subscribed()
  feeds[1]?.fed.subscribed({ task: 'x_only', with_variance: true }, [0, 4])
  const done = feeds.map(() => 0)
  const hidden: Formed[] = []
  const loaded: Formed[] = []
  let count = 0
  const first = deeds.slice(0, 6).map(({ pick }) => ({ who: 'environment', pick }))
  for (const { who, pick } of [...first, ...deeds, { who: 'sink', pick: 0 }]) {
    let did = who
    if (who === 'environment') {
      const place = places.place(`g${count++}`)
      const group = { place, task: pick % 4 === 0 ? 'x_y' : 'x_only', flat: pick % 5 === 0 }
      hidden.push(group)
      for (const [at, feed] of feeds.entries()) if (wants[at]?.(group)) feed.reads(place)
    } else if (who !== 'sink') did = feeds.find(({ fed }) => fed.consumer === who)?.acts(pick) ?? ''
    const formed = who === 'sink' ? hidden.splice(0) : []
    loaded.push(...formed)
    const told = feeds.flatMap(({ fed }, at) => fed.told.slice(done[at]))
    for (const [at, { fed }] of feeds.entries()) done[at] = fed.number
    if (formed.length + told.length > 0) yield { known, loaded, told, formed, did }
  }
}

async function appendLive(log: MemoryLog, { told, formed }: Live): Promise<void> {
  for (const group of formed) await append(log, (story) => form(story, group))
  if (told.length > 0) await appendTold(log, told)
}

test('after each event of a random history, every group has the state that the events before give it, and none is lost', {
  timeout: 120_000,
}, async () => {
  const seen = new Set<unknown>()
  await fc.assert(
    fc.asyncProperty(fc.array(deed, { minLength: 50, maxLength: 50 }), async (deeds) => {
      const { log, ask, load } = await tables()
      for (const live of lives(deeds)) {
        await appendLive(log, live)
        await load()
        const { ledger, counts } = expectedOf(live.known, live.loaded)
        expect(await ask(`${COUNTS} ORDER BY consumer`), live.did).toEqual(counts)
        expect(sorted(await ask(LEDGER)), live.did).toEqual(sorted(ledger))
        for (const { state } of ledger) seen.add(state)
        for (const { retired, ahead } of counts) seen.add(retired).add(ahead === '0' ? 'none ahead' : 'ahead')
        seen.add(live.did)
      }
    }),
    { numRuns: 5, seed: 7, endOnFailure: true },
  )
  for (const what of [...STATES, true, 'ahead', 'resumes', 'begins with applied groups']) expect(seen).toContain(what)
})

test('none is lost at any moment of a load, in whatever order the sink loads the topics', {
  timeout: 120_000,
}, async () => {
  let moments = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(deed, { minLength: 50, maxLength: 50 }),
      fc.shuffledSubarray([...catalogue], { minLength: catalogue.length }),
      async (deeds, types) => {
        const observe = async (ask: Ask) => {
          moments++
          for (const row of await ask(
            `SELECT lost, matching - (${STATES.join(' + ')}) AS unaccounted FROM consumers`,
          )) {
            expect(row).toEqual({ lost: '0', unaccounted: '0' })
          }
        }
        const { log, ask, load } = await tables({ types, observe })
        let last: Live | undefined
        for (const live of lives(deeds)) {
          await appendLive(log, live)
          last = live
        }
        await load()
        const { ledger, counts } = expectedOf(last?.known ?? [], last?.loaded ?? [])
        expect(await ask(`${COUNTS} ORDER BY consumer`)).toEqual(counts)
        expect(sorted(await ask(LEDGER))).toEqual(sorted(ledger))
      },
    ),
    { numRuns: 2, seed: 5, endOnFailure: true },
  )
  expect(moments).toBeGreaterThan(100)
})
