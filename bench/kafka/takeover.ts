import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { PARTITIONS } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { groupRewards, rewardObserved, rewardsGrouped } from './group-rewards.ts'
import { MemberProcess, until } from './members.ts'
import { messageOf } from './peers-job.ts'

const SESSION_MS = 10_000
const RUN = 'takeover'
const FEED_MS = 50
const KEYS = 64

/**
 * From kill -9 of one of two workers to the other's first commit of what it has taken over, in session time-outs. The
 * broker waits one session time-out before it removes the dead worker. The rest is ours: noticing, ending the dead
 * worker's open transaction, restoring the state, processing and committing.
 */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const log = await openKafkaLog({ address: `kafka://${bootstrap}/takeover-${Date.now()}` })
  const session_ms = quick ? 2_000 : SESSION_MS
  await log.createTopics(topicsOf([rewardObserved, rewardsGrouped(RUN)], [groupRewards(RUN)], PARTITIONS))
  return {
    measures: [],
    gauges: [
      {
        what: `takeover after kill -9, session time-out ${session_ms / 1_000} s, with state`,
        unit: 'session time-outs',
        goal: 1.5,
        values: () => takeovers(log, quick ? 1 : 5, session_ms),
      },
    ],
    close: () => log.close(),
  }
}

async function takeovers(log: Log, kills: number, session_ms: number): Promise<number[]> {
  const feeding = new AbortController()
  const fed = feed(log, feeding.signal)
  const begin = () => {
    const member: MemberProcess = new MemberProcess(log.address, RUN, session_ms, ({ says }) => {
      if (says === 'restored') restored.add(member)
      else if (restored.has(member)) committed.add(member)
    })
    member.go()
    return member
  }
  const restored = new Set<MemberProcess>()
  const committed = new Set<MemberProcess>()
  let pair = [begin(), begin()]
  const ratios: number[] = []
  try {
    for (let kill = 0; kill < kills; kill++) {
      await until(() => pair.every((member) => committed.has(member)), 60_000, 'both workers commit')
      const [victim, survivor] = pair as [MemberProcess, MemberProcess]
      restored.clear()
      committed.clear()
      const killed_ms = performance.now()
      await victim.kill()
      await until(() => committed.has(survivor), 10 * session_ms, 'the other one commits what it has taken over')
      ratios.push((performance.now() - killed_ms) / session_ms)
      pair = [survivor, begin()]
      restored.add(survivor)
    }
  } finally {
    feeding.abort()
    await fed
    for (const member of pair) await member.stop()
  }
  return ratios
}

/** A message for each key, twenty times a second. */
async function feed(log: Log, signal: AbortSignal): Promise<void> {
  const producer = await log.producer({ transactional_id: 'feed' })
  for (let sequence = 0; !signal.aborted; ) {
    const transaction = producer.begin()
    for (const until = sequence + KEYS; sequence < until; sequence++) {
      const { key, headers, value } = messageOf(sequence)
      transaction.append(rewardObserved.type, partitionOf(key, PARTITIONS), { key, headers, value })
    }
    await transaction.commit()
    await new Promise((resolve) => setTimeout(resolve, FEED_MS))
  }
  await producer.close()
}
