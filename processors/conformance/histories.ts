import fc from 'fast-check'
import { arbitraryData } from '../../schemas/conformance/arbitrary.ts'
import type { DataOf, Event, EventType } from '../../schemas/declare/event.ts'
import { example, tick } from '../../testing/test-driver.ts'
import type { AnyFold } from '../processor.ts'

/** Events in the order in which a fold reads them, ticks among them. Each event has its own id. */
export type Histories = fc.Arbitrary<readonly Event[]>

const KEYS = ['a', 'b']
const START_MS = Date.parse('2026-01-01T00:00:00.000Z')
const DAY_MS = 24 * 3_600_000
const MOST_EVENTS = 8

/** Time `ms` after the start of every generated history. */
export const after = (ms: number) => new Date(START_MS + ms).toISOString()

/**
 * Histories of any fold, from the declarations of its inputs: valid values, two keys, and ticks if it has timers. Values
 * of different events are unrelated. A fold that joins them by more than their key needs its own histories.
 */
export function generatedHistories(fold: Pick<AnyFold, 'inputs' | 'broadcast' | 'expire'>): Histories {
  const draws = [...fold.inputs, ...(fold.broadcast?.inputs ?? [])].map((type) =>
    fc.record({ key: fc.constantFrom(...KEYS), data: arbitraryData(type) }).map(({ key, data }) => ({
      type,
      data: withKey(type, data, key),
    })),
  )
  const ticks = fc.record({ tick_ms: fc.nat(20 * DAY_MS) })
  const steps = fold.expire === undefined ? draws : [...draws, ticks]
  return fc
    .array(fc.oneof(...(steps as fc.Arbitrary<Draw>[])), { minLength: 1, maxLength: MOST_EVENTS })
    .map((drawn) => drawn.map((draw, at) => eventOf(draw, at)))
}

type Draw = { readonly type: EventType; readonly data: DataOf<EventType> } | { readonly tick_ms: number }

function eventOf(draw: Draw, at: number): Event {
  if ('tick_ms' in draw) return tick('virtual', after(draw.tick_ms)) as Event
  return example(draw.type, draw.data, { id: `e${at}`, time: after(at) })
}

function withKey(type: EventType, data: DataOf<EventType>, key: string): DataOf<EventType> {
  const rows = Array.isArray(data) ? data : [data]
  const keyed = rows.map((row) => ({ ...(row as Record<string, unknown>), [type.key]: key }))
  return (Array.isArray(data) ? keyed : keyed[0]) as DataOf<EventType>
}
