import {
  type DROP_REASONS,
  groupsDropped,
  groupsLeased,
  leaseEnded,
  offsetsExpired,
} from '../../../schemas/events/training.ts'
import type { ConsumerState } from '../consumer-state.ts'
import { type FormedGroup, type NumberedGroup, numbered, type OpenGroup } from '../open-groups.ts'
import { FeedRefusal } from '../refusal.ts'
import { type Caller, current } from './current.ts'
import { type Decisions, placeOf } from './decisions.ts'
import { type Published, staleness } from './staleness.ts'

export interface LeaseWanted extends Caller {
  /** Names the call: repeated, it gets the same groups. */
  readonly request: string
  readonly groups: number
  readonly bytes: number
}

/** Groups that are drawn together: one, or a window of a shuffled order. */
export type Draw = readonly FormedGroup[]

/** Offsets of a partition whose records left the log before they were read. */
export interface ExpiredOffsets {
  readonly partition: number
  readonly first_offset: number
  /** The first that is left. */
  readonly until_offset: number
}

export interface Leased {
  readonly lease: number
  readonly groups: readonly NumberedGroup[]
}

/** Inferred: several steps of any trainer; a rank that asks for more does not train on what it has. */
export const MOST_LEASED = 4_096

/** Inferred: so many groups may wait for other ranks. Beyond, new ones are drawn only once those ranks take theirs. */
const MOST_NUMBERED = 65_536

/** What a repeated request was given before, if it is repeated. */
export function leasedBefore(state: ConsumerState, { rank, request }: LeaseWanted): Leased | undefined {
  const { request: last, lease } = state.rank(rank)
  if (last !== request || lease === undefined) return undefined
  const groups = [...state.open.values()].filter((group) => group.state === 'leased' && group.lease?.lease === lease)
  return groups.length === 0 ? undefined : { lease, groups: groups.sort((one, other) => one.sequence - other.sequence) }
}

/** How many more groups must be drawn for this request. */
export function missing(state: ConsumerState, wanted: LeaseWanted): number {
  const { run } = current(state, wanted)
  let there = 0
  for (const _ of state.open.waiting(wanted.rank, run.world_size)) if (++there === wanted.groups) return 0
  const room = Math.max(0, MOST_NUMBERED - state.open.counts.waiting)
  return Math.min((wanted.groups - there) * run.world_size, room + wanted.groups)
}

/**
 * Gives a rank its groups: first those that wait under their numbers, then new ones, which get the next numbers. Groups
 * that are too old are dropped on the way.
 *
 * @param draws new groups in their order; those that are not needed stay undrawn
 * @returns undefined when there was none
 * @throws FeedRefusal
 */
export function lease(
  state: ConsumerState,
  decisions: Decisions,
  wanted: LeaseWanted,
  draws: readonly Draw[],
  published: Published,
): Leased | undefined {
  const { subscription, run } = current(state, wanted)
  const { rank, request } = wanted
  expectRoom(state, wanted)
  const dropped: Parameters<typeof addDrops>[2][number][] = []
  const given: NumberedGroup[] = []
  let bytes = 0
  const isFull = () => given.length >= wanted.groups || bytes >= wanted.bytes
  const give = (group: NumberedGroup) => {
    given.push(group)
    bytes += group.bytes
  }
  const isFresh = (group: FormedGroup & { readonly sequence?: number }) => {
    const old = staleness(state, run, subscription, published, group)
    if (old !== undefined) dropped.push({ group, ...old })
    return old === undefined
  }

  for (const group of state.open.waiting(rank, run.world_size)) {
    if (isFull()) break
    if (isFresh(group)) give(numbered(group))
  }
  let sequence = state.next_sequence
  const passed: NumberedGroup[] = []
  for (const draw of draws) {
    if (isFull() || state.open.counts.waiting + passed.length > MOST_NUMBERED) break
    for (const group of draw) {
      expectUndrawn(state, group)
      if (!isFresh(group)) continue
      const next = { ...group, sequence: sequence++ }
      if (next.sequence % run.world_size === rank && !isFull()) give(next)
      else passed.push(next)
    }
  }

  const id = state.last_lease + 1
  const { run: name, epoch } = run
  const rows = [
    ...given.map((group) => ({ run: name, epoch, rank, lease: id, request, ...numbered(group) })),
    ...passed.map((group) => {
      return { run: name, epoch, rank: group.sequence % run.world_size, lease: null, request, ...numbered(group) }
    }),
  ]
  addDrops(decisions, { run: name, epoch }, dropped)
  // In the order of the numbers, by which the fold knows the next one.
  decisions.addRows(
    groupsLeased,
    rows.sort((one, other) => one.sequence - other.sequence),
  )
  return given.length === 0 ? undefined : { lease: id, groups: given }
}

/** @throws Error for a group that has a fate: it would be trained on twice */
function expectUndrawn({ name, drawn }: ConsumerState, { partition, offset, group_id }: FormedGroup): void {
  if (offset >= (drawn.get(partition) ?? 0)) return
  throw new Error(`consumer ${name}: group ${group_id} at partition ${partition} offset ${offset} was drawn before`)
}

function expectRoom(state: ConsumerState, { rank, groups }: LeaseWanted): void {
  let leased = 0
  for (const { state: is, lease } of state.open.values()) if (is === 'leased' && lease?.rank === rank) leased++
  if (leased + groups <= MOST_LEASED) return
  throw new FeedRefusal(
    'too_many_leased',
    `rank ${rank} has ${leased} groups and asks for ${groups} more, at most ${MOST_LEASED}: train on them, or release them`,
  )
}

/** Groups that are not trained on, with the reason. */
export function addDrops(
  decisions: Decisions,
  { run, epoch }: { readonly run: string; readonly epoch: number },
  dropped: readonly {
    readonly group: FormedGroup & { readonly sequence?: number }
    readonly reason: (typeof DROP_REASONS)[number]
    readonly detail: string
  }[],
): void {
  decisions.addRows(
    groupsDropped,
    dropped.map(({ group, reason, detail }) => {
      return { run, epoch, reason, detail, sequence: group.sequence ?? null, ...placeOf(group) }
    }),
  )
}

/** A group as its rank names it. */
export interface Held {
  readonly sequence: number
  readonly lease: number
}

/** Lets groups wait again that a rank has leased and not begun, unless that lease has ended. @returns how many */
export function release(state: ConsumerState, decisions: Decisions, caller: Caller, groups: readonly Held[]): number {
  current(state, caller)
  const { rank } = caller
  const leases = new Map(groups.map(({ sequence, lease }) => [sequence, lease]))
  return endLeasesOf(state, decisions, 'released', ({ sequence, lease }) => {
    return lease?.rank === rank && lease.lease === leases.get(sequence) && !isBegun(state, sequence, rank)
  })
}

/** Records offsets that left the log before their groups were drawn; those that were recorded change nothing. */
export function expireOffsets(
  state: ConsumerState,
  decisions: Decisions,
  caller: Caller,
  offsets: readonly ExpiredOffsets[],
): void {
  const { subscription, run } = current(state, caller)
  for (const { partition, first_offset, until_offset } of offsets) {
    const first = Math.max(first_offset, state.drawn.get(partition) ?? 0)
    if (first >= until_offset) continue
    const { topic_id } = subscription
    decisions.add(offsetsExpired, {
      ...{ run: run.run, epoch: run.epoch, topic_id, partition, first_offset: first, until_offset },
    })
  }
}

/** Drops groups of a rank whose records the log no longer has. */
export function dropGone(
  state: ConsumerState,
  decisions: Decisions,
  caller: Caller,
  sequences: readonly number[],
): void {
  const { run } = current(state, caller)
  const groups = sequences.flatMap((sequence) => {
    const group = state.open.get(sequence)
    return group?.state === 'leased' && group.lease?.rank === caller.rank ? [group] : []
  })
  const detail = 'its record is not in the log any more'
  addDrops(
    decisions,
    run,
    groups.map((group) => ({ group, reason: 'expired_unread' as const, detail })),
  )
}

/** Ends every lease of a rank that has been silent for too long. @returns how many groups wait again */
export function expire(state: ConsumerState, decisions: Decisions, rank: number): number {
  return endLeasesOf(state, decisions, 'expired', (group) => group.lease?.rank === rank)
}

/** Whether a group is in the step that a rank has begun and not applied. */
export function isBegun(state: ConsumerState, sequence: number, rank: number): boolean {
  const { begun, applied, groups } = state.rank(rank)
  return begun > applied && groups.includes(sequence)
}

function endLeasesOf(
  state: ConsumerState,
  decisions: Decisions,
  reason: 'expired' | 'released',
  which: (group: OpenGroup) => boolean,
): number {
  const { run } = state
  if (run === undefined) return 0
  const rows = [...state.open.values()].flatMap((group) => {
    if (group.state !== 'leased' || group.lease === undefined || !which(group)) return []
    return [{ run: run.run, epoch: run.epoch, ...group.lease, reason, sequence: group.sequence, ...placeOf(group) }]
  })
  decisions.addRows(leaseEnded, rows)
  return rows.length
}
