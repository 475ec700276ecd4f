import { scenePresented } from '../../schemas/events/tower.ts'
import { tickOf } from '../clock.ts'
import { type PushSource, pushSource } from '../push-source.ts'
import type { Source, Taken } from '../source.ts'
import type { DoorDriver, SourceDriver } from './driver.ts'
import { DRIVERS } from './drivers.ts'

/** A source that breaks a promise, to show that the suite notices. */
export interface BrokenSource {
  readonly name: string
  readonly driver: SourceDriver
  /** The case that must fail. */
  readonly caught_by: string
}

const driverOf = (name: string) => DRIVERS.find((driver) => driver.name === name) as SourceDriver
const recorded = driverOf('recorded-completions')
const towers = driverOf('tower-scenes')
const clock = driverOf('clock')
const push = driverOf('handed in')
const door = push.door as DoorDriver

/** The driver, whose sources have some of their properties replaced. */
const changing = (driver: SourceDriver, change: (source: Source) => Partial<Source>): SourceDriver => ({
  ...driver,
  async open(place) {
    const source = await driver.open(place)
    return Object.assign(source, change(source))
  },
})

const taking = (driver: SourceDriver, make: (take: Source['take']) => Source['take']): SourceDriver =>
  changing(driver, (source) => ({ take: make(source.take.bind(source)) }))

let made = 0
const withNewIds = (taken: Taken | undefined): Taken | undefined =>
  taken && {
    ...taken,
    emitted: taken.emitted.map(({ type, event }) => ({ type, event: { ...event, id: `${event.id}-${made++}` } })),
  }

export const BROKEN_SOURCES: readonly BrokenSource[] = [
  {
    name: 'has a new ce_id for each time that a step is taken',
    driver: taking(recorded, (take) => async (from, how) => withNewIds(await take(from, how))),
    caught_by: 'a step gives the same events whenever it is taken, alone or with others',
  },
  {
    name: 'forgets a step when it is opened again',
    driver: taking(recorded, (take) => {
      let is_first = true
      return async (from, how) => {
        const skipped = is_first && from > 0 ? 1 : 0
        is_first = false
        return await take(from + skipped, how)
      }
    }),
    caught_by: 'stopped after any commit and opened again, it appends the rest: no event twice, none missing',
  },
  {
    name: 'starts over when it is opened again',
    driver: taking(recorded, (take) => {
      let begin: number | undefined
      return async (from, how) => {
        begin ??= from
        const taken = await take(from - begin, how)
        return taken && { ...taken, to: taken.to + begin }
      }
    }),
    caught_by: 'stopped after any commit and opened again, it appends the rest: no event twice, none missing',
  },
  {
    name: 'has another name each time, and so no fence',
    driver: changing(recorded, ({ name }) => ({ name: `${name}/${made++}` })),
    caught_by:
      'of two sources with one name, one ends with an error that names the other, and no event is appended twice',
  },
  {
    name: 'appends more than its pace permits',
    driver: taking(recorded, (take) => (from, how) => take(from, { ...how, most: how.most * 2 })),
    caught_by: 'no more is appended than the pace permits',
  },
  {
    name: 'ignores a stop',
    driver: taking(clock, () => () => new Promise(() => {})),
    caught_by: 'stopped while its pace makes it wait, or while it waits for events, it ends at once',
  },
  {
    name: 'emits events that it has not declared',
    driver: changing(towers, () => ({ types: [scenePresented] })),
    caught_by: 'every event is appended once, where its routing puts it, in the order in which the source emits it',
  },
  {
    name: 'emits one event again and again',
    driver: taking(clock, () => async (from) => ({
      emitted: [tickOf('wall', '2026-01-01T00:00:00.000Z')],
      to: from + 1,
    })),
    caught_by: 'every event is appended once, where its routing puts it, in the order in which the source emits it',
  },
  {
    name: 'continues after records that are gone',
    driver: changing(recorded, () => ({ kind: 'live' })),
    caught_by:
      'when its topic was deleted and recreated, a repeatable source refuses to continue, a live one continues',
  },
  {
    name: 'drops events when their commit fails',
    driver: taking(push, (take) => async (from, how) => {
      const taken = await take(from, how)
      taken?.committed?.()
      return taken && { emitted: taken.emitted, to: taken.to }
    }),
    caught_by:
      'an event that is handed in is confirmed after its commit, not before; and refused when the source stops first',
  },
  {
    name: 'confirms events before their commit',
    driver: {
      ...push,
      door: {
        ...door,
        hand: async (source, at) => {
          door.hand(source, at).catch(() => {})
        },
      },
    },
    caught_by:
      'an event that is handed in is confirmed after its commit, not before; and refused when the source stops first',
  },
  {
    name: 'leaves its senders waiting when it is stopped',
    driver: changing(push, () => ({ close: () => {} })),
    caught_by:
      'an event that is handed in is confirmed after its commit, not before; and refused when the source stops first',
  },
  {
    name: 'has an unbounded buffer',
    driver: {
      ...push,
      open: async (place) => {
        const { name, types } = await push.open(place)
        return pushSource({ name, types, max_bytes: Number.POSITIVE_INFINITY })
      },
    },
    caught_by: 'it buffers a bounded number of bytes; events beyond that wait with their sender, and follow in order',
  },
  {
    name: 'appends an event twice that is handed in twice',
    driver: {
      ...push,
      door: {
        ...door,
        hand: (source, at) => {
          const again = Object.create(source) as PushSource
          again.hand = (one) => source.hand({ ...one, event: { ...one.event, id: `${one.event.id}/${made++}` } })
          return door.hand(again, at)
        },
      },
    },
    caught_by: 'the same event handed in twice while it waits is one, and another one under its id is refused',
  },
]
