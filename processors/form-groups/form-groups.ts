import type { Event } from '../../schemas/declare/event.ts'
import type { ScoredType } from '../../schemas/events/origin.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import {
  completionRejected,
  groupExpired,
  groupFormed,
  type REJECTIONS,
  rolloutRequested,
} from '../../schemas/events/rollout.ts'
import { unsupportedTokenIn } from '../ask-policy/policy-name.ts'
import { checkGroupSize } from '../largest-group.ts'
import {
  type Cause,
  causeOf,
  type Deadline,
  type Emit,
  type Fold,
  InvariantError,
  isA,
  REDELIVERY_MEMORY_MS,
} from '../processor.ts'
import type { Dialect } from './advantages.ts'
import { formedRows } from './formed-rows.ts'
import {
  emptyGroup,
  fromVersion1,
  fromVersion2,
  fromVersion3,
  type Group,
  groupState,
  isComplete,
  later,
  missingOf,
  type Sampled,
  type Score,
  sampledIdsOf,
  slotKey,
} from './group.ts'

/**
 * Collects the completions of each group: all N scored ones become one `rollout.group_formed`, or none do. In any order
 * of requests, completions and scores, every sampled completion has exactly one fate: in the formed group, expired with
 * it, or rejected with a reason.
 *
 * @param options.scored the scored event of every origin
 */
export function formGroups(options: {
  readonly dialect: Dialect
  readonly scored: readonly ScoredType[]
}): Fold<Group> {
  const scored = [...new Set(options.scored)]
  const isScored = (event: Event): event is Event<ScoredType> => scored.some(({ type }) => type === event.type)
  return {
    shape: 'fold',
    name: 'form-groups',
    version: 3,
    about: 'all N scored completions of a group, with advantages, or none',
    variant: [options.dialect],
    produces: 'derived',
    inputs: [rolloutRequested, completionsSampled, ...scored],
    outputs: [groupFormed, groupExpired, completionRejected],
    state: { version: 4, schema: groupState, upcast: { 1: fromVersion1, 2: fromVersion2, 3: fromVersion3 } },
    apply(state, event, emit) {
      const group = state === undefined ? emptyGroup(event.key) : draftOf(state)
      if (isA(event, rolloutRequested)) return whole(takeRequest(group, event, emit), options.dialect, emit)
      if (isA(event, completionsSampled)) return whole(takeSampled(group, event, emit), options.dialect, emit)
      if (isScored(event)) return whole(takeScored(group, event, emit), options.dialect, emit)
      return state
    },
    deadline(group) {
      if (group.forget !== undefined) return group.forget
      return group.request?.deadline
    },
    expire,
  }
}

/** A copy that `apply` may mutate, made once per event, not per row. Individual slots and scores are not copied. */
function draftOf(group: Group): Group {
  const { slots, early_scores, rejected } = group
  return { ...group, slots: { ...slots }, early_scores: { ...early_scores }, rejected: [...rejected] }
}

function takeRequest(group: Group, event: Event<typeof rolloutRequested>, emit: Emit): Group {
  if (group.request !== undefined || group.closed !== undefined) return group
  const { group_size, origin, task, purpose, start_id, prompt, images, deadline } = event.data
  checkGroupSize(group_size)
  const request = {
    cause: causeOf(event),
    group_size,
    origin,
    task,
    purpose,
    start_id,
    prompt_sha256: prompt.sha256,
    images: [...images],
    deadline,
  }
  const { slots, rejected } = group
  for (const [index, slot] of Object.entries(slots)) {
    if (Number(index) < group_size) continue
    delete slots[index]
    rejected.push(slotKey(slot.sampled_id, Number(index)))
    const completion = { sampled_id: slot.sampled_id, completion_index: Number(index), attempt_id: group.attempt_id }
    reject(emit, group, completion, 'index_out_of_range', `the group has ${group_size} completions`, [
      slot.cause,
      request.cause,
    ])
  }
  // Without any completion left, the group accepts any attempt again.
  if (Object.keys(slots).length === 0) delete group.attempt_id
  delete group.forget
  group.request = request
  return group
}

function takeSampled(group: Group, event: Event<typeof completionsSampled>, emit: Emit): Group {
  const cause = causeOf(event)
  for (const row of event.data) {
    if (isRedelivered(group, event.id, row)) continue
    const { completion_index } = row
    const key = slotKey(event.id, completion_index)
    const refusal = refusalOf(group, row)
    if (refusal !== undefined) {
      reject(emit, group, { ...row, sampled_id: event.id }, refusal.reason, refusal.detail, [cause])
      if (group.closed === undefined) refuse(group, key)
      continue
    }
    group.attempt_id ??= row.attempt_id
    group.slots[completion_index] = { sampled_id: event.id, cause, row }
    const early = group.early_scores[key]
    if (early === undefined) continue
    delete group.early_scores[key]
    takeScore(group, completion_index, early, emit)
  }
  return withTimer(group, event)
}

/** Without a request, no deadline would ever forget a group. */
function withTimer(group: Group, { clock, time }: Event): Group {
  if (group.request === undefined && group.closed === undefined)
    group.forget ??= later({ clock, time }, REDELIVERY_MEMORY_MS)
  return group
}

/** Whether the same event was delivered again, as opposed to another completion with the same index. */
function isRedelivered(group: Group, sampled_id: string, { completion_index }: Sampled): boolean {
  return (
    group.settled?.includes(sampled_id) === true ||
    group.slots[completion_index]?.sampled_id === sampled_id ||
    group.rejected.includes(slotKey(sampled_id, completion_index))
  )
}

function refusalOf(group: Group, row: Sampled): { reason: (typeof REJECTIONS)[number]; detail: string } | undefined {
  if (row.completion_index < 0) throw new InvariantError(`completion_index ${row.completion_index}: expected 0 or more`)
  if (group.closed === 'expired') return { reason: 'late', detail: 'the group has expired' }
  if (group.attempt_id !== undefined && group.attempt_id !== row.attempt_id) {
    return { reason: 'mixed_attempt', detail: `the group is of attempt ${group.attempt_id}` }
  }
  if (group.closed === 'formed') return { reason: 'duplicate', detail: 'the group has formed with this completion' }
  const size = group.request?.group_size
  if (size !== undefined && row.completion_index >= size) {
    return { reason: 'index_out_of_range', detail: `the group has ${size} completions` }
  }
  const taken = group.slots[row.completion_index]
  if (taken !== undefined)
    return { reason: 'duplicate', detail: `completion ${row.completion_index} came with ${taken.sampled_id}` }
  const unsupported = unsupportedTokenIn(row)
  if (unsupported !== undefined) {
    return { reason: 'unsupported_token', detail: `token ${unsupported} is one that the policy lists as unsupported` }
  }
  return undefined
}

function takeScored(group: Group, event: Event<ScoredType>, emit: Emit): Group {
  if (group.closed !== undefined) return group
  const cause = causeOf(event)
  for (const row of event.data) {
    const key = slotKey(row.sampled_id, row.completion_index)
    if (group.rejected.includes(key)) continue
    const { outcome, reward, reward_name, scorer_error } = row
    const score = { cause, outcome, reward, reward_name, scorer_error }
    const slot = group.slots[row.completion_index]
    if (slot?.sampled_id === row.sampled_id) takeScore(group, row.completion_index, score, emit)
    else group.early_scores[key] = score
  }
  return withTimer(group, event)
}

/** The first score of a completion counts. If the scorer failed, the completion is rejected and its slot is freed. */
function takeScore(group: Group, index: number, score: Score, emit: Emit): void {
  const slot = group.slots[index]
  if (slot === undefined || slot.score !== undefined) return
  if (score.reward !== null) {
    group.slots[index] = { ...slot, score }
    return
  }
  delete group.slots[index]
  const completion = { sampled_id: slot.sampled_id, completion_index: index, attempt_id: group.attempt_id }
  reject(emit, group, completion, 'scorer_failed', score.scorer_error ?? 'no reason given', [slot.cause, score.cause])
  refuse(group, slotKey(slot.sampled_id, index))
}

function refuse(group: Group, key: string): void {
  delete group.early_scores[key]
  group.rejected.push(key)
}

interface TurnedAway {
  readonly sampled_id: string
  readonly completion_index: number
  readonly attempt_id: string | undefined
}

function reject(
  emit: Emit,
  group: Group,
  { sampled_id, completion_index, attempt_id = '' }: TurnedAway,
  reason: (typeof REJECTIONS)[number],
  detail: string,
  causes: readonly Cause[],
): void {
  emit(
    completionRejected,
    { group_id: group.group_id, sampled_id, completion_index, attempt_id, reason, detail },
    { causes, discriminator: `${reason}/${completion_index}` },
  )
}

/** Emits a complete group and retains only the state needed to reject later completions. */
function whole(group: Group, dialect: Dialect, emit: Emit): Group {
  const { request } = group
  if (group.closed !== undefined || request === undefined || !isComplete(group)) return group
  const slots = Object.values(group.slots)
  const causes = [
    request.cause,
    ...slots.flatMap((slot) => (slot.score ? [slot.cause, slot.score.cause] : [slot.cause])),
  ]
  emit(groupFormed, formedRows(group, dialect), { causes })
  return closedGroup(group, 'formed', request.deadline)
}

function closedGroup(group: Group, closed: 'formed' | 'expired', at: Deadline): Group {
  const attempt = group.attempt_id === undefined ? {} : { attempt_id: group.attempt_id }
  const forget = { ...later(at, REDELIVERY_MEMORY_MS), housekeeping: true }
  return { ...emptyGroup(group.group_id), ...attempt, closed, settled: sampledIdsOf(group), forget }
}

function expire(group: Group, now: Deadline, emit: Emit): Group | undefined {
  if (group.closed !== undefined) return undefined
  const { request } = group
  const slots = Object.entries(group.slots)
  if (request === undefined) {
    for (const [index, slot] of slots) {
      const completion = { sampled_id: slot.sampled_id, completion_index: Number(index), attempt_id: group.attempt_id }
      reject(emit, group, completion, 'late', 'no request for this group came', [slot.cause])
    }
    return closedGroup(group, 'expired', now)
  }
  emit(
    groupExpired,
    {
      group_id: group.group_id,
      group_size: request.group_size,
      clock: request.deadline.clock,
      deadline: request.deadline.time,
      missing: missingOf(group),
      held: slots.map(([index, slot]) => ({
        sampled_id: slot.sampled_id,
        completion_index: Number(index),
        attempt_id: group.attempt_id ?? '',
      })),
    },
    { causes: [request.cause], discriminator: request.deadline.time },
  )
  return closedGroup(group, 'expired', now)
}
