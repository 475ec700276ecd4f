import type { MemoryBroker } from '../../infra/log/memory/broker.ts'
import { EpochClaim } from '../../infra/log/port/consumer.ts'
import type { Polled, Producer } from '../../infra/log/port/log.ts'
import { changelogTopic, journalTopic, SNAPSHOTS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { withLostBlobs } from '../../testing/crew/lost-blobs.ts'
import { bare, withoutBatches } from '../../testing/planted.ts'
import { type Conduct, commitWhole, RIGHT, type Written } from './simulated-log.ts'

/**
 * Realistic bugs of a worker or a driver, injected between the two. If the simulation did not find these, finding no
 * bugs in the real code would prove nothing.
 */
export const PLANTED_BUGS: Readonly<Record<string, (broker: MemoryBroker) => Conduct>> = {
  'positions committed before the outputs': () => ({
    ...RIGHT,
    async commit(producer, { appends, positions }, pause) {
      if (appends.length === 0 || positions.length === 0) return await commitWhole(producer, { appends, positions })
      await commitWhole(producer, { appends: [], positions })
      await pause('between positions and outputs')
      await commitWhole(producer, { appends, positions: [] })
    },
  }),
  'positions committed after the outputs': () => ({
    ...RIGHT,
    async commit(producer, { appends, positions }, pause) {
      if (appends.length === 0 || positions.length === 0) return await commitWhole(producer, { appends, positions })
      await commitWhole(producer, { appends, positions: [] })
      await pause('between outputs and positions')
      await commitWhole(producer, { appends: [], positions })
    },
  }),
  'snapshots without a fence': () => ({
    ...RIGHT,
    async commit(producer, { appends, positions }) {
      const is_snapshot = appends.every(({ topic }) => topic === SNAPSHOTS_TOPIC)
      await commitWhole(producer, { appends, positions: is_snapshot ? [] : positions })
    },
  }),
  'results of calls without a fence': () => ({
    ...RIGHT,
    async commit(producer, { appends, positions }) {
      const is_fenced = appends.some(({ topic }) => topic === SNAPSHOTS_TOPIC || topic.startsWith(journalTopic('')))
      await commitWhole(producer, { appends, positions: is_fenced ? positions : [] })
    },
  }),
  // Uses the ownership at the commit, not at the poll: a driver that asks for its generation when it commits.
  'the claim of whoever owns the partition now': (broker) => {
    const members = new Set<string>()
    return {
      ...RIGHT,
      polled(polled) {
        if (polled.claim instanceof EpochClaim) members.add(polled.claim.member)
        return polled
      },
      async commit(producer, { appends, positions }) {
        const current = positions.flatMap(({ claim, positions: some }) =>
          [...members].flatMap((member) => {
            const owned = broker.owned(claim.group, member)
            const now = new EpochClaim(claim.group, member, owned)
            return { claim: now, positions: some.filter(({ partition }) => owned.has(partition)) }
          }),
        )
        await commitWhole(producer, { appends, positions: current })
      },
    }
  },
  'a state that is kept when its partition was lost and came back': () => ({
    ...RIGHT,
    polled(polled) {
      const away = new Set(polled.lost.filter((partition) => polled.gained.includes(partition)))
      const stays = (partition: number) => !away.has(partition)
      return { ...polled, lost: polled.lost.filter(stays), gained: polled.gained.filter(stays) } satisfies Polled
    },
  }),
  'a changelog that misses what is forgotten': () => ({
    ...RIGHT,
    async commit(producer: Producer, { appends, positions }: Written) {
      const kept = appends.filter(({ topic, record }) => !topic.startsWith(changelogTopic('')) || record.value !== null)
      await commitWhole(producer, { appends: kept, positions })
    },
  }),
  'an error of the blob store taken for a fault of the record': () => ({
    ...RIGHT,
    blobs: withLostBlobs,
  }),
  'positions that compare lengths alone': () => ({
    ...RIGHT,
    async commit(producer: Producer, { appends, positions }: Written) {
      const unbound = positions.map(({ claim, positions: some }) => ({ claim, positions: some.map(bare) }))
      await commitWhole(producer, { appends, positions: unbound })
    },
  }),
  'batch boundaries are not journalled': () => ({
    ...RIGHT,
    async commit(producer: Producer, { appends, positions }: Written) {
      const without = appends.map((append) => ({ ...append, record: withoutBatches(append.topic, append.record) }))
      await commitWhole(producer, { appends: without, positions })
    },
  }),
}
