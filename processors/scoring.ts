import { z } from 'zod'
import type { Event, RowOfEvent } from '../schemas/declare/event.ts'
import type { Fields, RowOf } from '../schemas/declare/logical-types.ts'
import type { Origin, ScoredRow, ScoredType } from '../schemas/events/origin.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { unsupportedTokenIn } from './ask-policy/policy-name.ts'
import { type Asked, askedOf } from './asked.ts'
import { type Cause, causeOf, type Emit, type Fold, isA, REDELIVERY_MEMORY_MS } from './processor.ts'

/** What scores the completions of one origin. */
export interface Scoring<T extends string, R extends Fields, S extends ScoredType> {
  /** Of the fold, as are about and variant. */
  readonly version: number
  readonly about: string
  readonly variant: readonly string[]
  readonly origin: Origin<T, R, S>
  /**
   * What a completion is worth. Pure. If the scorer itself fails, the reward is null and `scorer_error` tells why.
   *
   * @throws Error for a bug: its event becomes a dead letter
   */
  score(asked: Asked<T, R>, text: string): Omit<RowOfEvent<S>, keyof ScoredId>
}

/** Which completion a scored row is about. */
type ScoredId = Pick<RowOfEvent<typeof completionsSampled>, 'group_id' | 'completion_index' | 'attempt_id'> & {
  readonly sampled_id: string
}
type CompletionToScore = Omit<ScoredId, 'sampled_id'> & {
  readonly text: string
  /** form-groups rejects it for a token; another completion may take its place. */
  readonly unsupported?: true
}

const cause = z.custom<Cause>((value) => typeof value === 'object' && value !== null && 'id' in value)
const completion = z.custom<CompletionToScore>(
  (value) => typeof value === 'object' && value !== null && 'text' in value,
)
const requestState = z.custom<RequestState>((value) => typeof value === 'object' && value !== null && 'start' in value)

const scoringState = z.object({
  /** Stored until every completion is scored once; then `done` replaces it. */
  request: requestState.optional(),
  done: z.boolean().optional(),
  /** Completion indices that have a reward. */
  scored: z.array(z.int()),
  /** Ids of the events whose completions are scored: a redelivered one is not scored again. Absent before version 2. */
  scored_events: z.array(z.string()).optional(),
  /** The attempt of the first completion. */
  attempt_id: z.string().optional(),
  /** A completion arrived that form-groups may reject. */
  irregular: z.boolean().optional(),
  /** Completions that arrived before their request. */
  waiting: z.array(z.object({ cause, rows: z.array(completion) })),
  forget: z.object({ clock: z.enum(['virtual', 'wall']), time: z.string() }),
})

interface RequestState {
  readonly start: RowOf<Fields>
  readonly task: string
  readonly group_size: number
  readonly cause: Cause
}
type State = z.infer<typeof scoringState>

/**
 * Scores the completions of an origin: joins them with the start state of their request, whichever arrives first, and
 * emits one scored event for every sampled event. Requests of other origins pass it by.
 */
export function scoring<T extends string, R extends Fields, S extends ScoredType>(
  scorer: Scoring<T, R, S>,
): Fold<State> {
  const { version, about, variant, origin } = scorer
  return {
    shape: 'fold',
    name: origin.scored_by,
    version,
    about,
    variant,
    produces: 'derived',
    inputs: [rolloutRequested, completionsSampled],
    outputs: [origin.scored],
    // Version 1 had no ids of scored events; a group that it left open may score a redelivered one again.
    state: { version: 3, schema: scoringState, upcast: { 1: (state) => state, 2: fromVersion2 } },
    apply(state, event, emit) {
      if (isA(event, rolloutRequested)) return takeRequest(state, event, emit, scorer)
      if (isA(event, completionsSampled)) return takeCompletions(state, event, emit, scorer)
      return state
    },
    deadline: (state) => ({ ...state.forget, housekeeping: true }),
    expire: () => undefined,
  }
}

/** State version 2 named the start state of a request as a scene. */
function fromVersion2(state: unknown): unknown {
  const { request, ...scoring } = state as { request?: { scene: unknown } }
  if (request === undefined) return scoring
  const { scene, ...rest } = request
  return { ...scoring, request: { ...rest, start: scene } }
}

/** Of whichever origin: `askedOf` checks that task and start state are its own. */
type AnyScoring = Scoring<string, Fields, ScoredType>

function takeRequest(
  state: State | undefined,
  event: Event<typeof rolloutRequested>,
  emit: Emit,
  scorer: AnyScoring,
): State {
  if (state?.request !== undefined || state?.done) return state
  const { group_size, deadline } = event.data
  const forget = { clock: deadline.clock, time: later(deadline.time) }
  const asked = askedOf(scorer.origin, event.data)
  if (asked === undefined) return doneUntil(forget)
  const request = { ...asked, group_size, cause: causeOf(event) }
  let next: State = { request, scored: [], waiting: [], forget }
  for (const { cause, rows } of state?.waiting ?? []) next = score(next, request, cause, rows, emit, scorer)
  return next
}

function takeCompletions(
  state: State | undefined,
  event: Event<typeof completionsSampled>,
  emit: Emit,
  scorer: AnyScoring,
): State {
  const cause = causeOf(event)
  if (state !== undefined && hasTaken(state, cause)) return state
  // A group that is done accepts no more completions: form-groups rejects later ones without a score.
  if (state?.done) return state
  const rows = event.data.map(({ group_id, completion_index, attempt_id, text, policy, token_ids }) => ({
    ...{ group_id, completion_index, attempt_id, text },
    ...(unsupportedTokenIn({ policy, token_ids }) === undefined ? {} : { unsupported: true as const }),
  }))
  if (state?.request !== undefined) return score(state, state.request, cause, rows, emit, scorer)
  const forget = state?.forget ?? { clock: event.clock, time: later(event.time) }
  return { scored: [], forget, waiting: [...(state?.waiting ?? []), { cause, rows }] }
}

/** Whether these completions are scored, or wait for their request. A group that is done takes none. */
function hasTaken({ scored_events, waiting }: State, { id }: Cause): boolean {
  return scored_events?.includes(id) === true || waiting.some(({ cause }) => cause.id === id)
}

function score(
  state: State,
  request: RequestState,
  cause: Cause,
  rows: readonly CompletionToScore[],
  emit: Emit,
  scorer: AnyScoring,
): State {
  const asked = { task: request.task, start: request.start }
  const results = rows.map(({ group_id, completion_index, attempt_id, text }): ScoredRow => {
    const id = { group_id, completion_index, attempt_id, sampled_id: cause.id }
    return { ...id, ...(scorer.score(asked, text) as Omit<ScoredRow, keyof ScoredId>) }
  })
  emit(scorer.origin.scored, results, { causes: [request.cause, cause] })
  const irregular = rows.some(({ unsupported }) => unsupported) ? { ...state, irregular: true } : state
  const next = results.reduce((before, row) => count(before, row, request.group_size), irregular)
  const all = next.scored.length === request.group_size && !next.irregular
  if (all) return doneUntil(state.forget)
  return { ...next, scored_events: [...(state.scored_events ?? []), cause.id] }
}

/**
 * A group is done when each index has exactly one completion, all of one attempt and all with a reward: form-groups has
 * then accepted exactly these. Otherwise it may reject some and wait for others, so the start state is retained.
 */
function count(state: State, row: ScoredRow, group_size: number): State {
  const { completion_index, attempt_id, reward } = row
  const attempt = state.attempt_id ?? attempt_id
  const regular =
    reward !== null &&
    completion_index >= 0 &&
    completion_index < group_size &&
    attempt_id === attempt &&
    !state.scored.includes(completion_index)
  if (!regular) return { ...state, attempt_id: attempt, irregular: true }
  return { ...state, attempt_id: attempt, scored: [...state.scored, completion_index] }
}

/** Nothing more is scored: the group is complete, or of another origin. */
const doneUntil = (forget: State['forget']): State => ({ done: true, scored: NONE, waiting: NONE, forget })

/** Shared by all groups that are done: there are hundreds of thousands in a week. */
const NONE: never[] = []

const later = (time: string) => new Date(Date.parse(time) + REDELIVERY_MEMORY_MS).toISOString()
