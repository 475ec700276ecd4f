import type { RunState, Subscription } from '../consumer-parts.ts'
import type { ConsumerState } from '../consumer-state.ts'
import { FeedRefusal } from '../refusal.ts'

/** Who calls. */
export interface Caller {
  readonly epoch: number
  readonly rank: number
}

/** @throws FeedRefusal when there is no subscription, or it has retired */
export function subscribed(state: ConsumerState): Subscription {
  const { name, subscription, retired } = state
  if (subscription === undefined) {
    throw new FeedRefusal(
      'unknown_consumer',
      `consumer ${name}: expected a subscription, found none; PUT /v1/consumers/${name} subscribes`,
    )
  }
  if (retired !== undefined) throw new FeedRefusal('retired', `consumer ${name} has retired: ${retired}`)
  return subscription
}

/**
 * The run of the caller.
 *
 * @throws FeedRefusal when its epoch is not the last one of the consumer, or there is no such rank
 */
export function current(state: ConsumerState, { epoch, rank }: Caller): { subscription: Subscription; run: RunState } {
  const subscription = subscribed(state)
  const { name, run } = state
  if (run === undefined || run.epoch !== epoch) {
    const now = run === undefined ? 'no run has started' : `epoch ${run.epoch} of run ${run.run} is the current one`
    throw new FeedRefusal('fenced', `consumer ${name}: ${now}, got epoch ${epoch}; start or resume the run to go on`)
  }
  if (rank >= run.world_size) {
    throw new FeedRefusal(
      'invalid',
      `rank: expected 0 to ${run.world_size - 1}, the ranks of run ${run.run}, got ${rank}`,
    )
  }
  return { subscription, run }
}
