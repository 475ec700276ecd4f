import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NO_METRICS } from '../../testing/feed-log.ts'
import { ConsumerState } from './consumer-state.ts'
import { saveCheckpoint } from './decide/checkpoint.ts'
import { Decisions } from './decide/decisions.ts'
import { dropGone, expire, lease, leasedBefore, release } from './decide/lease.ts'
import { startRun } from './decide/run.ts'
import { applied, beginStep, drop } from './decide/step.ts'
import { retire, subscribe } from './decide/subscribe.ts'
import { FeedRefusal } from './refusal.ts'
import { storedState } from './stored-state.ts'
import { DEFAULT_SUBSCRIPTION } from './subscription.ts'

/** A call, its numbers small, so that it often names what is there. */
interface Call {
  readonly what: (typeof CALLS)[number] | (typeof SELDOM)[number]
  readonly rank: number
  readonly one: number
  readonly other: number
}

const CALLS = ['lease', 'lease', 'begin', 'begin', 'apply', 'apply', 'save', 'drop', 'gone', 'release'] as const
const SELDOM = ['expire', 'start', 'resume', 'publish', 'retire', 'subscribe'] as const
const SUBSCRIPTION = { ...DEFAULT_SUBSCRIPTION, keep_checkpoints: 2, max_staleness: 3 }
const BEGINS = { topic_id: 't', start: [{ partition: 1, offset: 0 }], formed_before: [] }

const call = fc.record({
  what: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...CALLS) },
    { weight: 1, arbitrary: fc.constantFrom(...SELDOM) },
  ),
  rank: fc.nat(1),
  one: fc.nat(5),
  other: fc.nat(3),
}) as fc.Arbitrary<Call>

/** A consumer that is called, with what its callers and the log know. */
class Called {
  state = new ConsumerState('lab')
  #version = 0

  /** @returns the answer or the refusal, and the events */
  call(wanted: Call): unknown {
    const decisions = new Decisions(this.state, '2026-01-01T00:00:00.000Z')
    let answer: unknown
    try {
      answer = this.#decide(wanted, decisions)
      for (const { event } of decisions.made) this.state.apply(event)
    } catch (error) {
      if (!(error instanceof FeedRefusal)) throw error
      return { code: error.code, message: error.message, details: error.details }
    }
    if (answer instanceof FeedRefusal) answer = { code: answer.code, message: answer.message, details: answer.details }
    return { answer, events: decisions.made.map(({ event }) => event), standing: this.state.standing }
  }

  restart(): void {
    this.state = ConsumerState.restored(storedState.parse(JSON.parse(JSON.stringify(this.state.stored()))))
  }

  #decide({ what, rank, one, other }: Call, decisions: Decisions): unknown {
    const { state } = this
    const published = new Map([['lab/r0', this.#version]])
    const { run } = state
    const caller = { epoch: run?.epoch ?? 1, rank }
    const mine = [...state.open.values()].filter((group) => group.lease?.rank === rank)
    const held = mine
      .filter(({ state: is }) => is === 'leased')
      .slice(0, 1 + one)
      .map(({ sequence, lease }) => ({ sequence, lease: lease?.lease ?? 0 }))
    const sequences = held.map(({ sequence }) => sequence)
    const of_rank = state.rank(rank)
    switch (what) {
      case 'subscribe':
        return subscribe(state, decisions, SUBSCRIPTION, BEGINS)
      case 'retire':
        // Once in a while: nothing follows.
        return one === 5 && other === 3 ? retire(state, decisions, 'done') : undefined
      case 'publish':
        this.#version++
        return this.#version
      case 'start':
      case 'resume': {
        const resume = what === 'start' ? null : (state.checkpoints[other]?.checkpoint ?? null)
        const wanted = { run: `r${other % 2}`, attempt: `a${one}${state.number}`, world_size: 1 + (one % 2) }
        return startRun(state, decisions, { ...wanted, resume, lineage: null }, published)
      }
      case 'lease': {
        const wanted = { ...caller, request: `q${one}`, groups: 1 + other, bytes: 1_000 }
        const draws = Array.from({ length: 3 }, (_, at) => [this.#group((state.drawn.get(1) ?? 0) + at, one)])
        return leasedBefore(state, wanted) ?? lease(state, decisions, wanted, draws, published)
      }
      case 'begin':
        return beginStep(state, decisions, { ...caller, step: of_rank.begun + 1, groups: held }, published)
      case 'apply':
        return applied(state, decisions, { ...caller, step: of_rank.begun, ...NO_METRICS })
      case 'save': {
        const groups = [...state.open.values()].filter(({ state: is }) => is === 'applied')
        const last = state.checkpoints.findLast((each) => each.run === run?.run && each.epoch === run.epoch)
        const wanted = { checkpoint: `c${state.number}`, parent: last?.checkpoint ?? run?.checkpoint ?? null }
        const named = groups.map(({ sequence }) => sequence)
        const step = Math.max(state.rank(0).applied, state.rank(1).applied)
        return saveCheckpoint(
          state,
          decisions,
          { epoch: caller.epoch, ...wanted, step, weights_sha256: 'w', groups: named },
          published,
        )
      }
      case 'drop':
        return drop(state, decisions, { ...caller, reason: 'by_consumer', detail: '', groups: sequences.slice(0, 1) })
      case 'gone':
        return dropGone(state, decisions, caller, sequences.slice(0, 1))
      case 'release':
        return release(state, decisions, caller, held)
      case 'expire':
        return run === undefined ? 0 : expire(state, decisions, rank)
      default:
        throw new Error(what satisfies never)
    }
  }

  #group(offset: number, version: number) {
    const group_id = `g${offset}`
    return {
      ...{ topic_id: 't', partition: 1, offset, group_id, bytes: 400 },
      ...{ policy_version_oldest: version === 0 ? null : version, lineage: version === 0 ? null : 'lab/r0' },
    }
  }
}

const FIRST: readonly Call[] = [
  { what: 'subscribe', rank: 0, one: 0, other: 0 },
  { what: 'start', rank: 0, one: 1, other: 0 },
]

test('a state that is stored and restored after any calls answers all later calls as the one that was not', () => {
  const codes = new Set<unknown>()
  const kinds = new Set<string>()
  fc.assert(
    fc.property(fc.array(fc.tuple(call, fc.nat(4)), { minLength: 20, maxLength: 120 }), (calls) => {
      const [kept, restored] = [new Called(), new Called()]
      for (const [wanted, restarts] of [...FIRST.map((first) => [first, 1] as const), ...calls]) {
        if (restarts === 0) restored.restart()
        const answer = kept.call(wanted) as { code?: string; events?: readonly { readonly type: string }[] }
        expect(restored.call(wanted)).toEqual(answer)
        codes.add(answer.code)
        for (const { type } of answer.events ?? []) kinds.add(type)
      }
      restored.restart()
      expect(restored.state.stored()).toEqual(kept.state.stored())
    }),
    { numRuns: 150, seed: 13 },
  )
  // The calls have met what they are about.
  expect([...codes]).toEqual(expect.arrayContaining(['out_of_order', 'not_begun', 'run_exists', 'incomplete']))
  expect(kinds.size).toBeGreaterThanOrEqual(10)
})

test('what is no state of this version is refused', () => {
  const called = new Called()
  for (const wanted of FIRST) called.call(wanted)
  const stored = called.state.stored()
  expect(storedState.safeParse(stored).success).toBe(true)
  for (const wrong of [
    { ...stored, number: -1 },
    { ...stored, extra: 1 },
    { ...stored, subscription: { ...stored.subscription, order: 'other' } },
    { ...stored, open: [{ ...stored.open[0], state: 'lost' }] },
    { ...stored, ranks: [[0, { begun: 1 }]] },
  ])
    expect(storedState.safeParse(wrong).success).toBe(false)
})

test('a state does not grow with the groups, steps and starts that are done', () => {
  const called = new Called()
  const sizes: number[] = []
  for (const wanted of FIRST) called.call({ ...wanted, one: 0 })
  for (let step = 1; step <= 12_000; step++) {
    const calls = ['lease', 'begin', 'apply', 'save'] as const
    for (const what of calls) called.call({ what, rank: 0, one: step % 6, other: 0 })
    if (step % 6_000 === 0) sizes.push(JSON.stringify(called.state.stored()).length)
  }
  const [half = 0, whole = 0] = sizes
  expect(called.state.counts.durable).toBeGreaterThanOrEqual(5_000)
  // Numbers have more digits.
  expect(whole).toBeLessThan(half * 1.1)
})
