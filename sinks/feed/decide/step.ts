import { groupsApplied, stepBegun, stepCompleted, type TRAINER_REASONS } from '../../../schemas/events/training.ts'
import type { RunState, Subscription } from '../consumer-parts.ts'
import type { ConsumerState } from '../consumer-state.ts'
import type { OpenGroup } from '../open-groups.ts'
import { FeedRefusal } from '../refusal.ts'
import { type Caller, current } from './current.ts'
import { type Decisions, placeOf } from './decisions.ts'
import { addDrops, isBegun } from './lease.ts'
import { type Published, staleness } from './staleness.ts'

export interface StepWanted extends Caller {
  readonly step: number
  readonly groups: readonly { readonly sequence: number; readonly lease: number }[]
}

/**
 * Checks a rank's groups before its optimiser step; from here on they are not dropped. If some are too old, these are
 * dropped and the step is not begun.
 *
 * @returns the refusal that follows from drops: they are committed first
 * @throws FeedRefusal when nothing is changed
 */
export function beginStep(
  state: ConsumerState,
  decisions: Decisions,
  wanted: StepWanted,
  published: Published,
): FeedRefusal | undefined {
  const { subscription, run } = current(state, wanted)
  const { rank, step, groups } = wanted
  const { begun, applied, groups: of_begun } = state.rank(rank)
  const sequences = groups.map(({ sequence }) => sequence)
  if (new Set(sequences).size !== sequences.length) {
    throw new FeedRefusal('invalid', 'groups: expected each sequence number once')
  }
  if (step === begun && isSame(of_begun, sequences)) return undefined
  if (step !== begun + 1 || begun > applied) {
    const expected = begun > applied ? `the receipt of step ${begun} first` : `step ${begun + 1}`
    throw new FeedRefusal('out_of_order', `rank ${rank}: expected ${expected}, got begin of step ${step}`)
  }
  const dropped = sequences.filter((sequence) => state.wasDropped(sequence))
  if (dropped.length > 0) {
    return new FeedRefusal('stale', `${dropped.length} of the groups are dropped`, { groups: dropped })
  }
  const found = groups.map(({ sequence, lease }) => usable(state, rank, sequence, lease))
  const lost = sequences.filter((_, at) => found[at] === undefined)
  if (lost.length > 0) {
    throw new FeedRefusal('lease_lost', `rank ${rank} has no lease of ${lost.length} of the groups any more`, {
      groups: lost,
    })
  }
  const usables = found as OpenGroup[]
  const old = tooOld(state, run, subscription, published, usables)
  addDrops(decisions, run, old)
  if (old.length > 0) {
    return new FeedRefusal('stale', `${old.length} of the groups are dropped: ${old[0]?.detail}`, {
      groups: old.map(({ group }) => group.sequence),
    })
  }
  decisions.addRows(
    stepBegun,
    usables.map((group) => {
      const { sequence, lease } = group
      return { run: run.run, epoch: run.epoch, rank, step, lease: lease?.lease ?? 0, sequence, ...placeOf(group) }
    }),
  )
  return undefined
}

/** The group if this rank may train on it. @throws FeedRefusal when a checkpoint has it, or when it was dropped */
function usable(state: ConsumerState, rank: number, sequence: number, lease: number): OpenGroup | undefined {
  const group = state.open.get(sequence)
  if (group === undefined) {
    const has = sequence >= state.next_sequence ? 'has not been given out' : 'is durable or dropped'
    throw new FeedRefusal('used', `group ${sequence} ${has}`, { groups: [sequence] })
  }
  return group.lease?.rank === rank && group.lease.lease === lease ? group : undefined
}

/** Of those that no step has applied yet: the others are in the weights. */
function tooOld(
  state: ConsumerState,
  run: RunState,
  subscription: Subscription,
  published: Published,
  groups: readonly OpenGroup[],
) {
  return groups.flatMap((group) => {
    const old = group.state === 'applied' ? undefined : staleness(state, run, subscription, published, group)
    return old === undefined ? [] : [{ group, ...old }]
  })
}

const isSame = (one: readonly number[], other: readonly number[]) =>
  one.length === other.length && one.every((value, at) => value === other[at])

export interface Receipt extends Caller {
  readonly step: number
  readonly loss: number | null
  readonly grad_norm: number | null
  readonly tokens: number | null
  readonly seconds: number | null
  readonly metrics: Readonly<Record<string, number>>
}

/** The optimiser step was taken. A second receipt changes nothing. @returns how many groups @throws FeedRefusal */
export function applied(state: ConsumerState, decisions: Decisions, receipt: Receipt): number {
  const { run } = current(state, receipt)
  const { rank, step, loss, grad_norm, tokens, seconds, metrics } = receipt
  const { begun, applied: last, groups } = state.rank(rank)
  if (step <= last && step > run.step) return step === begun ? groups.length : 0
  if (step !== begun || begun === last) {
    throw new FeedRefusal('not_begun', `rank ${rank}: expected begin_step of step ${step} before its receipt`)
  }
  const found = groups.map((sequence) => state.open.get(sequence))
  const lost = groups.filter((_, at) => {
    const group = found[at]
    return group?.lease?.rank !== rank || group.begun_in !== step
  })
  if (lost.length > 0) {
    throw new FeedRefusal(
      'lease_lost',
      `rank ${rank} was silent for too long in step ${step}: ${lost.length} of its groups wait again, and the weights have them. No checkpoint from step ${step} on is taken; resume from an earlier one`,
      { groups: lost },
    )
  }
  const { run: name, epoch } = run
  decisions.addRows(
    groupsApplied,
    (found as OpenGroup[]).map((group) => {
      return { run: name, epoch, rank, step, sequence: group.sequence, ...placeOf(group) }
    }),
  )
  decisions.add(stepCompleted, {
    ...{ run: name, epoch, rank, step, groups: groups.length, loss, grad_norm, tokens, seconds, metrics },
  })
  return groups.length
}

export interface Drop extends Caller {
  readonly reason: (typeof TRAINER_REASONS)[number]
  readonly detail: string
  readonly groups: readonly number[]
}

/** Drops leased groups that the consumer does not train on. @returns how many @throws FeedRefusal */
export function drop(
  state: ConsumerState,
  decisions: Decisions,
  { rank, epoch, reason, detail, groups }: Drop,
): number {
  const { run } = current(state, { rank, epoch })
  const dropped = groups.flatMap((sequence) => {
    if (state.wasDropped(sequence)) return []
    const group = state.open.get(sequence)
    if (group === undefined || isBegun(state, sequence, rank) || group.state === 'applied') {
      throw new FeedRefusal(
        'used',
        `group ${sequence}: expected a leased one of rank ${rank}, which no step has begun`,
        {
          groups: [sequence],
        },
      )
    }
    if (group.lease?.rank !== rank) {
      throw new FeedRefusal('lease_lost', `rank ${rank} has no lease of group ${sequence} any more`, {
        groups: [sequence],
      })
    }
    return [{ group, reason, detail }]
  })
  addDrops(decisions, run, dropped)
  // Those too that were dropped by this call before.
  return groups.length
}
