import { z } from 'zod'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { completionsScored, towerOrigin } from '../../schemas/events/tower.ts'
import { askedOf } from '../asked.ts'
import { type Cause, causeOf, type Emit, type Fold, isA, REDELIVERY_MEMORY_MS } from '../processor.ts'
import type { RecordedScene } from '../recorded-scene.ts'
import { type CompletionToScore, type ScoredRow, type Scorer, scoredRow } from './scored-row.ts'

const cause = z.custom<Cause>((value) => typeof value === 'object' && value !== null && 'id' in value)
const completion = z.custom<CompletionToScore>(
  (value) => typeof value === 'object' && value !== null && 'text' in value,
)
const requestState = z.custom<RequestState>((value) => typeof value === 'object' && value !== null && 'scene' in value)

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
  readonly scene: RecordedScene
  readonly task: ScoredRow['task']
  readonly group_size: number
  readonly cause: Cause
}
type Scoring = z.infer<typeof scoringState>

/**
 * Scores completions about towers: joins them with the scene of their request, whichever arrives first, and emits one
 * `tower.completions_scored` for every sampled event.
 */
export function scoreCompletions(scorer: Scorer): Fold<Scoring> {
  return {
    shape: 'fold',
    name: 'score-completions',
    version: 3,
    about: 'the physics and the reward of each completion',
    variant: [scorer.reward_name, `v${scorer.reward_version}`],
    produces: 'derived',
    inputs: [rolloutRequested, completionsSampled],
    outputs: [completionsScored],
    // Version 1 had no ids of scored events; a group that it left open may score a redelivered one again.
    state: { version: 2, schema: scoringState, upcast: { 1: (state) => state } },
    apply(state, event, emit) {
      if (isA(event, rolloutRequested)) return takeRequest(state, event, emit, scorer)
      if (isA(event, completionsSampled)) return takeCompletions(state, event, emit, scorer)
      return state
    },
    deadline: (state) => ({ ...state.forget, housekeeping: true }),
    expire: () => undefined,
  }
}

function takeRequest(
  state: Scoring | undefined,
  event: Event<typeof rolloutRequested>,
  emit: Emit,
  scorer: Scorer,
): Scoring {
  if (state?.request !== undefined || state?.done) return state
  const { group_size, deadline } = event.data
  const forget = { clock: deadline.clock, time: later(deadline.time) }
  const asked = askedOf(towerOrigin, event.data)
  if (asked === undefined) return doneUntil(forget)
  const request = { scene: asked.start, task: asked.task, group_size, cause: causeOf(event) }
  let next: Scoring = { request, scored: [], waiting: [], forget }
  for (const { cause, rows } of state?.waiting ?? []) next = score(next, request, cause, rows, emit, scorer)
  return next
}

function takeCompletions(
  state: Scoring | undefined,
  event: Event<typeof completionsSampled>,
  emit: Emit,
  scorer: Scorer,
): Scoring {
  const cause = causeOf(event)
  if (state !== undefined && hasTaken(state, cause)) return state
  if (state?.request !== undefined) return score(state, state.request, cause, event.data, emit, scorer)
  // A group that is done accepts no more completions: form-groups rejects later ones without a score.
  if (state?.done) return state
  const rows = event.data.map(({ group_id, completion_index, attempt_id, text }) => ({
    group_id,
    completion_index,
    attempt_id,
    text,
  }))
  const forget = state?.forget ?? { clock: event.clock, time: later(event.time) }
  return { scored: [], forget, waiting: [...(state?.waiting ?? []), { cause, rows }] }
}

/** Whether these completions are scored, or wait for their request. A group that is done takes none. */
function hasTaken({ scored_events, waiting }: Scoring, { id }: Cause): boolean {
  return scored_events?.includes(id) === true || waiting.some(({ cause }) => cause.id === id)
}

function score(
  state: Scoring,
  request: RequestState,
  cause: Cause,
  rows: readonly CompletionToScore[],
  emit: Emit,
  scorer: Scorer,
): Scoring {
  const results = rows.map((row) => scoredRow(scorer, request.scene, request.task, row, cause.id))
  emit(completionsScored, results, { causes: [request.cause, cause] })
  const next = results.reduce((before, row) => count(before, row, request.group_size), state)
  const all = next.scored.length === request.group_size && !next.irregular
  if (all) return doneUntil(state.forget)
  return { ...next, scored_events: [...(state.scored_events ?? []), cause.id] }
}

/**
 * A group is done when each index has exactly one completion, all of one attempt and all with a reward: form-groups has
 * then accepted exactly these. Otherwise it may reject some and wait for others, so the scene is retained.
 */
function count(state: Scoring, row: ScoredRow, group_size: number): Scoring {
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
const doneUntil = (forget: Scoring['forget']): Scoring => ({ done: true, scored: NONE, waiting: NONE, forget })

/** Shared by all groups that are done: there are hundreds of thousands in a week. */
const NONE: never[] = []

const later = (time: string) => new Date(Date.parse(time) + REDELIVERY_MEMORY_MS).toISOString()
