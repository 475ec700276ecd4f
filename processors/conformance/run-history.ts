import { isDeepStrictEqual } from 'node:util'
import type { Event } from '../../schemas/declare/event.ts'
import { clockTicked } from '../../schemas/events/clock.ts'
import { CLOCKS } from '../../schemas/events/rollout.ts'
import { type TestDriver, testDriver, tick } from '../../testing/test-driver.ts'
import type { AnyFold, Deadline } from '../processor.ts'

/** What a fold did with a history, comparable between runs. */
export interface Ran {
  /** Values of each output, by type and id. An event that was emitted again, with the same value, counts once. */
  readonly outputs: ReadonlyMap<string, readonly unknown[]>
  /** States after the last event, by key, and the broadcast state. */
  readonly states: ReadonlyMap<string, unknown>
  /** Events that became dead letters. */
  readonly dead: ReadonlyMap<string, unknown>
  /** States that are left after every timer has fired. */
  readonly left: ReadonlyMap<string, unknown>
}

/** Most rounds of timers after a history. A fold that sets a timer anew each time it fires never forgets. */
const MOST_ROUNDS = 50

/**
 * Runs a history through a fold, then fires its timers until it has none.
 *
 * @param beforeEach called before each event, with its index, and once after the last one
 * @throws Error when the fold throws anything but an InvariantError
 */
export async function runHistory(
  fold: AnyFold,
  history: readonly Event[],
  beforeEach: (driver: TestDriver, at: number) => void = () => {},
): Promise<Ran> {
  const driver = testDriver(fold)
  const outputs = new Map<string, unknown[]>()
  const dead = new Map<string, unknown>()
  const take = async (event: Event) => {
    await driver.when(event)
    for (const emitted of driver.emitted()) {
      const name = `${emitted.type} ${emitted.id}`
      const before = outputs.get(name) ?? []
      if (!before.some((other) => isDeepStrictEqual(other, emitted))) outputs.set(name, [...before, emitted])
    }
    for (const { error } of driver.failures()) {
      // By name: a module that was loaded again has its own class.
      if (error.name !== 'InvariantError') throw new Error(`threw on ${wordsOf(event)}: ${error.message}`)
      dead.set(event.id, error.message)
    }
  }
  for (const [at, event] of history.entries()) {
    beforeEach(driver, at)
    await take(event)
  }
  beforeEach(driver, history.length)
  const states = allStatesOf(driver)
  for (let round = 0; round < MOST_ROUNDS && driver.states().length > 0; round++) {
    for (const due of lastDeadlines(fold, driver)) await take(tick(due.clock, due.time) as Event)
  }
  return { outputs, states, dead, left: statesOf(driver) }
}

const statesOf = (driver: TestDriver) =>
  new Map(driver.states().map(([key, state]) => [key, JSON.parse(JSON.stringify(state)) as unknown]))

/** These and the broadcast state, which has no timer and no end. */
const allStatesOf = (driver: TestDriver) => new Map([...statesOf(driver), ['(broadcast)', driver.broadcast()]])

/** The latest deadline of each clock. */
function lastDeadlines(fold: AnyFold, driver: TestDriver): Deadline[] {
  const all = driver.states().flatMap(([, state]) => fold.deadline?.(state) ?? [])
  return CLOCKS.flatMap((clock) => {
    const times = all.filter((deadline) => deadline.clock === clock).map(({ time }) => time)
    const time = times.sort().at(-1)
    return time === undefined ? [] : [{ clock, time }]
  })
}

/** The first difference between two runs, in words; undefined if there is none. */
export function differenceOf(expected: Ran, actual: Ran): string | undefined {
  return (
    firstDifference('output', expected.outputs, actual.outputs) ??
    firstDifference('state of', expected.states, actual.states) ??
    firstDifference('dead letter of', expected.dead, actual.dead) ??
    firstDifference('after all timers, state of', expected.left, actual.left)
  )
}

function firstDifference(
  what: string,
  expected: ReadonlyMap<string, unknown>,
  actual: ReadonlyMap<string, unknown>,
): string | undefined {
  for (const name of new Set([...expected.keys(), ...actual.keys()])) {
    const [one, other] = [expected.get(name), actual.get(name)]
    if (!isDeepStrictEqual(one, other)) return `${what} ${name}: expected ${json(one)}, got ${json(other)}`
  }
  return undefined
}

const MOST_CHARACTERS = 600
export function json(value: unknown): string {
  const text = JSON.stringify(value) ?? 'none'
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text
}

export const isTick = (event: Event) => event.type === clockTicked.type

/** An event in a line of a message. */
export function wordsOf(event: Event): string {
  if (isTick(event)) return `tick ${(event as Event<typeof clockTicked>).data.time}`
  return `${event.type} ${event.id} of ${event.key}`
}
