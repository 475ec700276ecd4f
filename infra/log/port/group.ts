import { otherTopics } from './failure.ts'

/**
 * Ownership of a group's partitions as values: a state, and functions from state to state. Drivers that coordinate
 * groups themselves (memory, LMDB) store the state and call these inside their own transactions.
 */
export interface GroupState {
  readonly topics: readonly string[]
  /** Grows with every change of ownership; each partition records the epoch at which it got its owner. */
  readonly epoch: number
  readonly members: Readonly<Record<string, Lease>>
  readonly owners: readonly Owner[]
}

export interface Lease {
  readonly until_ms: number
  readonly session_timeout_ms: number
}

export interface Owner {
  readonly member: string | null
  readonly epoch: number
}

/** Partition → the epoch at which the member got it. */
export type Epochs = ReadonlyMap<number, number>

export const EMPTY_GROUP: GroupState = { topics: [], epoch: 0, members: {}, owners: [] }

/**
 * `member` is alive at `now_ms`: adds it or renews its lease, removes all others whose lease has expired, and
 * balances. The caller's own lease may have expired long ago: only a call by another live member removes it.
 */
export function renewed(state: GroupState, member: string, session_timeout_ms: number, now_ms: number): GroupState {
  const members: Record<string, Lease> = { [member]: { until_ms: now_ms + session_timeout_ms, session_timeout_ms } }
  for (const [id, lease] of Object.entries(state.members)) {
    if (id !== member && !isOver(lease, now_ms)) members[id] = lease
  }
  return balanced({ ...state, members })
}

/** `member` leaves: its partitions are given to the others at once, or become unowned. */
export function without(state: GroupState, member: string): GroupState {
  const { [member]: _, ...members } = state.members
  return balanced({ ...state, members })
}

/**
 * The group state, set to read these topics from now on.
 * @throws Error when live members other than `member` read other topics.
 */
export function reading(
  state: GroupState,
  group: string,
  member: string,
  topics: readonly string[],
  partitions: number,
  now_ms: number,
): GroupState {
  const same = state.topics.join() === topics.join()
  if (same && state.owners.length === partitions) return state
  const others = Object.entries(state.members).filter(([id, lease]) => id !== member && !isOver(lease, now_ms))
  if (others.length > 0) {
    throw new Error(otherTopics(group, state.topics.join(', '), topics.join(', ')))
  }
  const owners = Array.from({ length: partitions }, () => ({ member: null, epoch: state.epoch }))
  return { topics, epoch: state.epoch, members: {}, owners }
}

export function hasLiveMembers(state: GroupState, now_ms: number): boolean {
  return Object.values(state.members).some((lease) => !isOver(lease, now_ms))
}

/** Whether a member other than `member` has expired, so that its partitions can be taken over. */
export function hasExpiredMembers(state: GroupState, member: string, now_ms: number): boolean {
  return Object.entries(state.members).some(([id, lease]) => id !== member && isOver(lease, now_ms))
}

export function ownedBy(state: GroupState, member: string): Epochs {
  const owned = new Map<number, number>()
  state.owners.forEach((owner, partition) => {
    if (owner.member === member) owned.set(partition, owner.epoch)
  })
  return owned
}

/** The first of these partitions that `member` has not owned without a break since the given epoch, or undefined. */
export function firstLost(
  state: GroupState,
  member: string,
  epochs: Iterable<readonly [partition: number, epoch: number]>,
): number | undefined {
  for (const [partition, epoch] of epochs) {
    const owner = state.owners[partition]
    if (owner === undefined || owner.member !== member || owner.epoch !== epoch) return partition
  }
  return undefined
}

/**
 * Leases use a clock that restarts with the machine. A lease that ends later than a whole session from now was given
 * before the restart, so its member is dead.
 */
function isOver(lease: Lease, now_ms: number): boolean {
  return lease.until_ms <= now_ms || lease.until_ms > now_ms + lease.session_timeout_ms
}

/** Every partition owned, counts differing by at most one, and as few moves as that allows. */
export function balanced(state: GroupState): GroupState {
  const ids = Object.keys(state.members).sort()
  const kept = new Map<string, number[]>(ids.map((id) => [id, []]))
  state.owners.forEach((owner, partition) => {
    if (owner.member !== null) kept.get(owner.member)?.push(partition)
  })
  const share = Math.floor(state.owners.length / ids.length)
  const larger_shares = state.owners.length % ids.length
  // The members with the most partitions get the larger shares: that moves the fewest.
  const by_count = [...ids].sort((a, b) => (kept.get(b)?.length ?? 0) - (kept.get(a)?.length ?? 0))
  const next: (string | null)[] = state.owners.map(() => null)
  const room: string[] = []
  by_count.forEach((id, rank) => {
    const quota = share + (rank < larger_shares ? 1 : 0)
    const keeps = (kept.get(id) ?? []).slice(0, quota)
    for (const partition of keeps) next[partition] = id
    for (let free = keeps.length; free < quota; free += 1) room.push(id)
  })
  let epoch = state.epoch
  const owners = state.owners.map((owner, partition): Owner => {
    const member = next[partition] ?? room.shift() ?? null
    if (member === owner.member) return owner
    epoch += 1
    return { member, epoch }
  })
  return { ...state, epoch, owners }
}
