import { InvariantError } from './processor.ts'

/**
 * More completions than one event can list, even by index alone. Releases before bounds accepted any number, and their
 * records are still read: this limits what they can allocate.
 */
const LARGEST_GROUP = 100_000

/** @throws InvariantError when the group is impossibly large: the request becomes a dead letter */
export function checkGroupSize(group_size: number): void {
  if (group_size <= LARGEST_GROUP) return
  throw new InvariantError(
    `group_size ${group_size}: expected at most ${LARGEST_GROUP}; no event could list so many completions`,
  )
}
