import { z } from 'zod'
import { modelPublished } from '../../schemas/events/model.ts'
import { added, counted } from '../../testing/counting.ts'
import { type Broadcast, type Deadline, type Emit, type Fold, isA } from '../processor.ts'

/** A sound fold, and the bugs of a first one. If the suite did not find these, passing it would prove nothing. */

const state = z.object({
  /** Amounts by event id, so that an event counts once. */
  amounts: z.record(z.string(), z.number()),
  forget: z.object({ clock: z.enum(['virtual', 'wall']), time: z.string() }),
})
type Totals = z.infer<typeof state>

const DAY_MS = 24 * 3_600_000
const FOREVER: Deadline = { clock: 'virtual', time: '2026-02-01T00:00:00.000Z' }

/** Adds up the amounts of a key and emits the total when the key's time is over. */
export function totals(): Fold<Totals> {
  return {
    shape: 'fold',
    name: 'total-amounts',
    version: 1,
    about: 'the total of each key, a month later',
    variant: [],
    produces: 'derived',
    any_order: true,
    inputs: [added],
    outputs: [counted],
    state: { version: 1, schema: state },
    apply(before, event) {
      if (!isA(event, added)) return before
      const amounts = { ...before?.amounts, [event.id]: event.data.amount }
      return { amounts, forget: before?.forget ?? FOREVER }
    },
    deadline: ({ forget }) => forget,
    expire(before, _now, emit) {
      emitTotal(emit, Object.entries(before.amounts))
      return undefined
    },
  }
}

function emitTotal(emit: Emit, amounts: readonly (readonly [id: string, amount: number])[]): void {
  const sum = amounts.reduce((total, [, amount]) => (total + amount) | 0, 0)
  const causes = amounts.map(([id]) => ({ id, time: FOREVER.time, clock: FOREVER.clock, obeys_rules: true as const }))
  emit(counted, { who: 'any', sum }, { causes })
}

/** Survives in this process, and is gone after a restart. */
const latest = new Map<string, number>()

interface Planted {
  readonly bug: string
  /** The promise that it breaks, and a part of the message. */
  readonly breaks: string
  readonly message: RegExp
  readonly fold: () => Fold
}

const withState = (schema: z.ZodType, rest: Partial<Fold>): Fold =>
  ({ ...totals(), ...rest, state: { version: 1, schema } }) as unknown as Fold

const withBroadcast = <B>(schema: z.ZodType<B>, initial: B, apply: Broadcast<B>['apply']): Fold =>
  ({
    ...totals(),
    broadcast: { name: 'planted', version: 1, inputs: [modelPublished], schema, initial, apply },
  }) as unknown as Fold

export const PLANTED_BUGS: readonly Planted[] = [
  {
    bug: 'counts a redelivered event twice',
    breaks: 'a redelivered record changes nothing',
    message: /test\.added e\d of [ab] delivered again after .*state of [ab]: expected \{"sum":/s,
    fold: () =>
      withState(z.object({ sum: z.number() }), {
        apply: (before, event) =>
          isA(event, added) ? { sum: ((before as { sum: number } | undefined)?.sum ?? 0) + event.data.amount } : before,
        deadline: () => FOREVER,
        expire: () => undefined,
      }),
  },
  {
    bug: 'never forgets a key',
    breaks: 'no state is kept for ever',
    message: /state of [ab] is left after all its timers have fired: .*give the fold a deadline/s,
    fold: () => {
      const { deadline: _deadline, expire: _expire, ...rest } = totals()
      return rest as unknown as Fold
    },
  },
  {
    bug: 'sets its timer anew whenever it fires',
    breaks: 'no state is kept for ever',
    message: /is left after all its timers have fired/,
    fold: () =>
      ({
        ...totals(),
        expire: (before: Totals, now: Deadline) => ({
          ...before,
          forget: { clock: now.clock, time: new Date(Date.parse(now.time) + DAY_MS).toISOString() },
        }),
      }) as unknown as Fold,
  },
  {
    bug: 'has a Map in its state',
    breaks: 'a state is JSON',
    message: /state of [ab]: expected a state that JSON keeps, got a Map at amounts, which JSON makes \{\}/,
    fold: () =>
      withState(z.object({ amounts: z.instanceof(Map) }), {
        apply: (before, event) => ({
          amounts: new Map([
            ...((before as { amounts: Map<string, string> } | undefined)?.amounts ?? []),
            [event.id, ''],
          ]),
        }),
        deadline: () => FOREVER,
        expire: () => undefined,
      }),
  },
  {
    bug: 'has a state that its own schema refuses',
    breaks: 'a state is JSON',
    message: /does not fit its schema/,
    fold: () => withState(z.object({ amounts: z.array(z.string()) }), {}),
  },
  {
    bug: 'stores in a variable of its module what the next event needs',
    breaks: 'a restart after any record changes nothing',
    message: /restarted (after|before) .*state of [ab]/s,
    fold: () =>
      withState(z.object({ before: z.number().nullable() }), {
        apply(_before, event) {
          const before = latest.get(event.key) ?? null
          if (isA(event, added)) latest.set(event.key, event.data.amount)
          return { before }
        },
        deadline: () => FOREVER,
        expire: () => undefined,
      }),
  },
  {
    bug: 'counts in a variable of its module',
    breaks: 'the same records give the same outputs and states',
    message: /run twice: state of [ab]/,
    fold: () =>
      withState(z.object({ size: z.number() }), {
        apply: (_before, event) => ({ size: latest.set(event.id, latest.size).size }),
        deadline: () => FOREVER,
        expire: () => undefined,
      }),
  },
  {
    bug: 'declares any order, and the last event wins',
    breaks: 'the order of the records changes nothing',
    message: /swapped: state of [ab]/,
    fold: () =>
      withState(z.object({ last: z.string() }), {
        apply: (_before, event) => ({ last: event.id }),
        deadline: () => FOREVER,
        expire: () => undefined,
      }),
  },
  {
    bug: 'changes the state it was given',
    breaks: 'a redelivered record changes nothing',
    message: /threw on test\.added e\d of [ab]: Cannot (add|assign)/,
    fold: () =>
      ({
        ...totals(),
        apply(before: Totals | undefined, event: Parameters<Fold['apply']>[1]) {
          if (before === undefined) return totals().apply(before, event, () => {}, undefined)
          before.amounts[event.id] = 1
          return before
        },
      }) as unknown as Fold,
  },
  {
    bug: 'counts published models in its broadcast state',
    breaks: 'a redelivered record changes nothing',
    message: /model\.published e\d of [ab] delivered again after .*state of \(broadcast\): expected \d, got \d/s,
    fold: () => withBroadcast(z.int(), 0, (models) => models + 1),
  },
  {
    bug: 'has a broadcast state that its own schema refuses',
    breaks: 'a state is JSON',
    message: /broadcast state does not fit its schema/,
    fold: () => withBroadcast<unknown>(z.object({}), {}, (_before, { id }) => id),
  },
  {
    bug: 'declares an output that it never emits',
    breaks: 'it emits each of its outputs',
    message:
      /none of \d+ histories made it emit test\.doubled; .*add processors\/total-amounts\/conformance-histories\.ts/,
    fold: () => ({ ...totals(), outputs: [counted, { ...counted, type: 'test.doubled' }] }) as unknown as Fold,
  },
]
