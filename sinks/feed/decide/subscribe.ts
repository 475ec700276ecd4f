import { isDeepStrictEqual } from 'node:util'
import { PURPOSES } from '../../../schemas/events/rollout.ts'
import { consumerRetired, consumerSubscribed, leaseEnded, rolledBack } from '../../../schemas/events/training.ts'
import type { Subscription } from '../consumer-parts.ts'
import type { ConsumerState } from '../consumer-state.ts'
import { numbered } from '../open-groups.ts'
import { FeedRefusal } from '../refusal.ts'
import { subscribed } from './current.ts'
import { type Decisions, placeOf } from './decisions.ts'

/** A subscription as it is asked for. */
export type Wanted = Omit<Subscription, 'consumer' | 'number' | 'topic_id' | 'start' | 'formed_before' | 'filter'> & {
  readonly filter: Omit<Subscription['filter'], 'purposes'> & {
    /** Left out: groups to train on; those of any purpose, where the consumer subscribed before there were purposes. */
    readonly purposes?: Subscription['filter']['purposes'] | undefined
  }
}

/** Where its groups begin, and what was there when it subscribed. */
export type Begins = Pick<Subscription, 'topic_id' | 'start' | 'formed_before'>

/**
 * The same subscription again changes nothing.
 *
 * @throws FeedRefusal when the consumer has another subscription or has retired
 */
export function subscribe(state: ConsumerState, decisions: Decisions, asked: Wanted, begins: Begins): void {
  const { name, subscription, retired } = state
  const wanted = { ...asked, filter: { ...asked.filter, purposes: purposesOf(asked, subscription) } }
  if (subscription === undefined) {
    decisions.add(consumerSubscribed, { ...wanted, ...begins })
    return
  }
  if (retired !== undefined) subscribed(state)
  const differs = Object.entries(wanted).find(
    ([field, value]) => !isDeepStrictEqual(value, subscription[field as keyof Wanted]),
  )
  if (differs === undefined) return
  const [field, value] = differs
  throw new FeedRefusal(
    'already_subscribed',
    `consumer ${name}: ${field}: subscribed with ${JSON.stringify(subscription[field as keyof Wanted])}, got ${JSON.stringify(value)}; a subscription does not change: take another name`,
  )
}

function purposesOf({ filter: { purposes } }: Wanted, subscription: Subscription | undefined) {
  if (purposes === undefined) return subscription?.filter.purposes === null ? null : ['train' as const]
  return purposes === null ? null : PURPOSES.filter((purpose) => purposes.includes(purpose))
}

/** Its groups that are not durable are not given out any more. A second time changes nothing. @throws FeedRefusal for an unknown one */
export function retire(state: ConsumerState, decisions: Decisions, reason: string): void {
  if (state.retired !== undefined) return
  subscribed(state)
  endLeases(state, decisions)
  rollBackApplied(state, decisions, null)
  decisions.add(consumerRetired, { reason })
}

/** Ends the leases of the current run, because it is over. */
export function endLeases(state: ConsumerState, decisions: Decisions): void {
  const { run } = state
  if (run === undefined) return
  const { run: name, epoch } = run
  const rows = [...state.open.values()].flatMap((group) => {
    if (group.state !== 'leased' || group.lease === undefined) return []
    return [
      { run: name, epoch, ...group.lease, reason: 'fenced' as const, sequence: group.sequence, ...placeOf(group) },
    ]
  })
  decisions.addRows(leaseEnded, rows)
}

/** Lets the groups wait again that the current run has applied, and no checkpoint contains. */
export function rollBackApplied(
  state: ConsumerState,
  decisions: Decisions,
  checkpoint: string | null,
  into: Pick<NonNullable<ConsumerState['run']>, 'run' | 'epoch'> | undefined = state.run,
): void {
  if (into === undefined) return
  const { run, epoch } = into
  const rows = [...state.open.values()].flatMap((group) =>
    group.state === 'applied' ? [{ run, epoch, checkpoint, was: 'applied' as const, ...numbered(group) }] : [],
  )
  decisions.addRows(rolledBack, rows)
}
