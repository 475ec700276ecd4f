import type { Event } from '../../schemas/declare/event.ts'
import type { AnyFold } from '../processor.ts'
import { differenceOf, isTick, json, type Ran, runHistory, wordsOf } from './run-history.ts'

/** One history of a fold, and all that a promise needs to check it. */
export interface Checked {
  readonly fold: AnyFold
  /** The same fold in another process: its modules were loaded again. */
  readonly restarted: AnyFold
  readonly history: readonly Event[]
  /** Random whole numbers, for places in the history. */
  readonly draws: readonly [number, number]
  /** Types of the outputs of all histories so far; a promise may add to it. */
  readonly seen: Set<string>
}

export interface Promised {
  readonly name: string
  /** Whether the fold makes this promise. Default: every fold does. */
  readonly applies?: (fold: AnyFold) => boolean
  /** @throws Error with the first difference */
  readonly check: (checked: Checked) => Promise<void>
  /** Called once after all histories. @throws Error when they together do not keep the promise */
  readonly atEnd?: (fold: AnyFold, seen: ReadonlySet<string>, how: Covered) => void
}

interface Covered {
  readonly runs: number
  readonly is_generated: boolean
}

/** What every fold promises. Outputs are compared by id and value: an event that is emitted twice is one event. */
export const PROMISES: readonly Promised[] = [
  {
    name: 'the same records give the same outputs and states',
    async check({ fold, history }) {
      expectSame(await runHistory(fold, history), await runHistory(fold, history), 'run twice')
    },
  },
  {
    name: 'a state is JSON',
    async check({ fold, history }) {
      await runHistory(fold, history, (driver) => {
        for (const [key, state] of driver.states()) {
          const lost = lostInJson(state)
          if (lost !== undefined) throw new Error(`state of ${key}: ${lost}`)
          const checked = fold.state.schema.safeParse(JSON.parse(JSON.stringify(state)))
          if (checked.success) continue
          throw new Error(`state of ${key} does not fit its schema: ${json(state)}: ${checked.error.message}`)
        }
        const broadcast = driver.broadcast()
        const checked = fold.broadcast?.schema.safeParse(broadcast)
        if (broadcast === undefined || checked?.success) return
        throw new Error(`broadcast state does not fit its schema: ${json(broadcast)}: ${checked?.error.message}`)
      })
    },
  },
  {
    name: 'a redelivered record changes nothing',
    async check({ fold, history, draws: [one, other] }) {
      const events = history.flatMap((event, at) => (isTick(event) ? [] : [at]))
      const first = events[one % Math.max(1, events.length)]
      if (first === undefined) return
      const last = await lastRedelivery(fold, history, first)
      const again = first + 1 + (other % (last - first))
      const event = history[first] as Event
      const longer = [...history.slice(0, again), event, ...history.slice(again)]
      const place = `${wordsOf(event)} delivered again ${placeOf(history, again)}`
      expectSame(await runHistory(fold, history), await runHistory(fold, longer), place)
    },
  },
  {
    name: 'a restart after any record changes nothing',
    async check({ fold, restarted, history, draws: [one] }) {
      const place = one % (history.length + 1)
      const actual = await runHistory(fold, history, (driver, at) => {
        if (at === place) driver.restart(restarted)
      })
      expectSame(await runHistory(fold, history), actual, `restarted ${placeOf(history, place)}`)
    },
  },
  {
    name: 'the order of the records changes nothing',
    applies: ({ any_order }) => any_order === true,
    async check({ fold, history, draws: [one, other] }) {
      const from = one % history.length
      // A tick decides which events are in time, so events change places only between ticks.
      const places = betweenTicks(history, from)
      const to = places[other % Math.max(1, places.length)]
      if (to === undefined || to === from) return
      const swapped = history.map((event, at) => history[at === from ? to : at === to ? from : at] ?? event)
      const place = `${wordsOf(history[from] as Event)} and ${wordsOf(history[to] as Event)} swapped`
      expectSame(await runHistory(fold, history), await runHistory(fold, swapped), place)
    },
  },
  {
    name: 'no state is kept for ever',
    async check({ fold, history }) {
      for (const [key, state] of (await runHistory(fold, history)).left) {
        throw new Error(
          `state of ${key} is left after all its timers have fired: ${json(state)}: expected undefined from apply or ` +
            'expire in the end; give the fold a deadline, and an expire that returns undefined',
        )
      }
    },
  },
  {
    name: 'it emits each of its outputs',
    async check({ fold, history, seen }) {
      for (const name of (await runHistory(fold, history)).outputs.keys()) seen.add(name.slice(0, name.indexOf(' ')))
    },
    atEnd(fold, seen, { runs, is_generated }) {
      const missing = fold.outputs.filter(({ type }) => !seen.has(type)).map(({ type }) => type)
      if (missing.length === 0) return
      const remedy = is_generated
        ? `its inputs belong together by more than their key: add processors/${fold.name}/conformance-histories.ts, ` +
          'which exports `histories` as processors/form-groups/conformance-histories.ts does'
        : 'extend its histories'
      throw new Error(`none of ${runs} histories made it emit ${missing.join(', ')}; ${remedy}`)
    },
  },
]

function expectSame(expected: Ran, actual: Ran, how: string): void {
  const difference = differenceOf(expected, actual)
  if (difference !== undefined) throw new Error(`${how}: ${difference}`)
}

/** Places of the events around `at` that no tick separates from it; none if a tick is there. */
function betweenTicks(history: readonly Event[], at: number): number[] {
  const ticks = history.flatMap((event, place) => (isTick(event) ? [place] : []))
  if (ticks.includes(at)) return []
  const first = Math.max(-1, ...ticks.filter((place) => place < at)) + 1
  const end = Math.min(history.length, ...ticks.filter((place) => place > at))
  return Array.from({ length: end - first }, (_, offset) => first + offset)
}

function placeOf(history: readonly Event[], at: number): string {
  const before = history[at - 1]
  return before === undefined ? 'before the first record' : `after ${wordsOf(before)}`
}

/**
 * The last place at which a fold must recognise an event: a timer may forget its key, and nothing is kept for ever. A
 * key that is forgotten by `apply` is no excuse.
 */
async function lastRedelivery(fold: AnyFold, history: readonly Event[], first: number): Promise<number> {
  const key = history[first]?.key
  let had = false
  let last = history.length
  await runHistory(fold, history, (driver, at) => {
    const has = driver.states().some(([name]) => name === key)
    const before = history[at - 1]
    if (at > first + 1 && at - 1 < last && had && !has && before !== undefined && isTick(before)) last = at - 1
    had = has
  })
  return last
}

/** What a state loses as JSON, in words; undefined if nothing. A field that is undefined is as good as none. */
function lostInJson(state: unknown): string | undefined {
  let text: string | undefined
  try {
    text = JSON.stringify(state)
  } catch (error) {
    return `cannot be JSON: ${(error as Error).message}`
  }
  const read = text === undefined ? undefined : (JSON.parse(text) as unknown)
  const found = firstLoss(state, read, '')
  return found && `expected a state that JSON keeps, got ${found}`
}

function firstLoss(value: unknown, read: unknown, path: string): string | undefined {
  const where = path === '' ? '' : ` at ${path}`
  if (typeof value !== 'object' || value === null) {
    // JSON has no −0, and no calculation tells it from 0 unless it divides by it.
    if (value === read) return undefined
    return `${String(value)}${where}, which JSON makes ${json(read)}`
  }
  const plain = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype
  if (!plain && Object.getPrototypeOf(value) !== null) {
    return `a ${value.constructor.name}${where}, which JSON makes ${json(read)}`
  }
  for (const [name, inner] of Object.entries(value)) {
    if (inner === undefined && !Array.isArray(value)) continue
    const lost = firstLoss(inner, (read as Record<string, unknown>)[name], path === '' ? name : `${path}.${name}`)
    if (lost !== undefined) return lost
  }
  return undefined
}
