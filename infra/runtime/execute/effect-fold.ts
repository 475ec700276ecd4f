import { z } from 'zod'
import {
  type Answer,
  type Cause,
  causeOf,
  causeSchema,
  type Deadline,
  type Effect,
  type Emit,
  type Fold,
  InvariantError,
  REDELIVERY_MEMORY_MS,
} from '../../../processors/processor.ts'
import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { EventTooLargeError } from '../../../schemas/declare/event-errors.ts'

/** The stored plan: whole until it is complete or expired; afterwards without its request. */
export interface Pending<Q = unknown> {
  readonly cause: Cause
  readonly attempt_id: string
  /** The variant of the effect that planned it. */
  readonly variant: readonly string[]
  readonly wanted: number
  readonly missing: readonly number[]
  /** Present until the last result is recorded or the deadline has passed. */
  readonly request?: Q | undefined
  readonly deadline: Deadline
}

/** Bounded because the state of a key lists its missing indices and is written with every result. */
const MOST_WANTED = 100_000

/** Type of the events that pass results into the fold. Never appended to a log. */
const ANSWERED = '_effect.answered'

interface Answered {
  readonly attempt_id: string
  readonly answers: readonly Answer[]
  /** Indices that are no longer requested, although no result was recorded for them. */
  readonly given_up: readonly number[]
  /** Wall-clock time at which the results arrived. */
  readonly recorded_at: string
}

/** Results for one key, as an event for `Execution.process`. It has the time of its cause, so it moves no clock. */
export function answered(
  key: string,
  pending: Pending,
  { answers = [], given_up = [], recorded_at }: Partial<Omit<Answered, 'attempt_id'>> & Pick<Answered, 'recorded_at'>,
): Event {
  const { id, time, clock } = pending.cause
  const data: Answered = { attempt_id: pending.attempt_id, answers, given_up, recorded_at }
  const event = { id, source: '', type: ANSWERED, version: 0, time, clock, key, causes: [], data }
  return event as unknown as Event
}

/**
 * An effect as a fold, without its calls. An input event becomes a plan, each index is recorded once, and indices that
 * are missing at the deadline are no longer requested.
 */
export function asFold<Q, B>(effect: Effect<Q, B>): Fold<Pending<Q>, B> {
  const { name, version, about, inputs, outputs, variant, produces, broadcast } = effect
  return {
    shape: 'fold',
    ...{ name, version, about, inputs, outputs, variant, produces },
    ...(broadcast === undefined ? {} : { broadcast }),
    state: {
      version: effect.state.version,
      schema: pendingSchema(effect.state.schema),
      upcast: upcastRequests(effect.state.upcast ?? {}),
    },
    apply(state, event, emit) {
      if ((event.type as string) === ANSWERED) return record(state, event.data as unknown as Answered, outputs, emit)
      // The same request again, or another one with its key: the first one counts.
      return state ?? planned(effect, event)
    },
    deadline({ request, deadline }) {
      if (request !== undefined) return deadline
      const time = new Date(Date.parse(deadline.time) + REDELIVERY_MEMORY_MS).toISOString()
      return { clock: deadline.clock, time, housekeeping: true }
    },
    expire({ request, ...pending }) {
      return request === undefined ? undefined : pending
    },
    waits: ({ request }) => request !== undefined,
  }
}

/** The upcasters of requests, for the states that hold them. A state whose results are all recorded has none. */
function upcastRequests(upcasters: NonNullable<Effect['state']['upcast']>): NonNullable<Fold['state']['upcast']> {
  const entries = Object.entries(upcasters).map(([version, upcast]) => {
    const ofState = (state: unknown) => {
      const { request, ...pending } = state as Pending
      return request === undefined ? pending : { ...pending, request: upcast(request) }
    }
    return [version, ofState] as const
  })
  return Object.fromEntries(entries)
}

function planned<Q, B>(effect: Effect<Q, B>, event: Event): Pending<Q> | undefined {
  const plan = effect.plan(event)
  if (plan === undefined || plan.wanted < 1) return undefined
  if (plan.wanted > MOST_WANTED) {
    throw new InvariantError(
      `${effect.name} plans ${plan.wanted} results for one event: expected at most ${MOST_WANTED}`,
    )
  }
  const { attempt_id, wanted, request, deadline } = plan
  const missing = Array.from({ length: wanted }, (_, index) => index)
  return { cause: causeOf(event), attempt_id, variant: effect.variant, wanted, missing, request, deadline }
}

function record<Q>(
  state: Pending<Q> | undefined,
  { attempt_id, answers, given_up, recorded_at }: Answered,
  outputs: Effect['outputs'],
  emit: Emit,
): Pending<Q> | undefined {
  if (state?.request === undefined || state.attempt_id !== attempt_id) return state
  const left = new Set(state.missing)
  const fresh = answers.filter(({ index }) => left.delete(index))
  for (const index of given_up) left.delete(index)
  if (left.size === state.missing.length) return state
  for (const [type, some] of Map.groupBy(fresh, (answer) => answer.type ?? outputs[0].type)) {
    const output = outputs.find((one) => one.type === type)
    if (output === undefined) throw new Error(`a result is a ${type}, which its effect does not declare as an output`)
    if (output.encoding === 'arrow') say(output, some)
    else for (const answer of some) say(output, [answer])
  }
  const { request, ...rest } = state
  const missing = [...left]
  return missing.length === 0 ? { ...rest, missing } : { ...rest, missing, request }

  /** Emits one event, or several where one would be too large. */
  function say(output: EventType, some: readonly Answer[]): void {
    const causes = state === undefined ? [] : [state.cause]
    const discriminator = `${attempt_id}/${some.map(({ index }) => index).join()}`
    const rows = some.map(({ row }) => row)
    try {
      emit(output, (output.encoding === 'arrow' ? rows : rows[0]) as never, { causes, discriminator, recorded_at })
    } catch (error) {
      if (!(error instanceof EventTooLargeError) || some.length === 1) throw error
      say(output, some.slice(0, some.length >> 1))
      say(output, some.slice(some.length >> 1))
    }
  }
}

function pendingSchema<Q>(request: z.ZodType<Q>): z.ZodType<Pending<Q>> {
  const clock = z.enum(['virtual', 'wall'])
  return z.object({
    cause: causeSchema,
    attempt_id: z.string(),
    variant: z.array(z.string()),
    wanted: z.int(),
    missing: z.array(z.int()),
    request: request.optional(),
    deadline: z.object({ clock, time: z.string() }),
  }) as unknown as z.ZodType<Pending<Q>>
}
