import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import type { Side } from '../pairs.ts'
import { PARTITIONS } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { groupRewards, rewardObserved, rewardsGrouped } from './group-rewards.ts'
import { MemberProcess, until } from './members.ts'
import { messageOf } from './peers-job.ts'

const SESSION_MS = 10_000
const PATIENCE_MS = 300_000

/**
 * The peers' job, which waits for nothing but the log, by two and by four worker processes compared with one. Every
 * worker has restored its partitions before the clock starts.
 */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const messages = quick ? 4_000 : 200_000
  const log = await openKafkaLog({ address: `kafka://${bootstrap}/scale-${Date.now()}` })
  await log.createTopics([{ name: rewardObserved.type, partitions: PARTITIONS }])
  await fill(log, messages)
  let turn = 0
  const side = (count: number) => workers(log, messages, count, () => `scale_${count}_${turn++}`)
  return {
    measures: [2, 4].map((count) => ({
      what: `the peers’ job by ${count} workers in processes of their own, each with its share of ${PARTITIONS} partitions`,
      unit: 'messages',
      seconds: 'wall' as const,
      most_pairs: 3,
      cold: true,
      candidate: side(count),
      ceiling: side(1),
    })),
    close: () => log.close(),
  }
}

async function fill(log: Log, messages: number): Promise<void> {
  const producer = await log.producer({ transactional_id: 'fill' })
  for (let from = 0; from < messages; from += 5_000) {
    const transaction = producer.begin()
    for (let sequence = from; sequence < Math.min(messages, from + 5_000); sequence++) {
      const { key, headers, value } = messageOf(sequence)
      transaction.append(rewardObserved.type, partitionOf(key, PARTITIONS), { key, headers, value })
    }
    await transaction.commit()
  }
  await producer.close()
}

function workers(log: Log, messages: number, count: number, runOf: () => string): Side {
  let members: MemberProcess[] = []
  const all = (of: (member: MemberProcess) => number) => members.reduce((sum, member) => sum + of(member), 0)
  return {
    what: count === 1 ? 'one worker' : `${count} workers`,
    async prepare() {
      const run = runOf()
      await log.createTopics(topicsOf([rewardsGrouped(run)], [groupRewards(run)], PARTITIONS))
      members = Array.from({ length: count }, () => new MemberProcess(log.address, run, SESSION_MS, () => {}))
      await until(() => members.every(({ owned }) => owned.size > 0), 60_000, `${count} workers have partitions`)
      // The first worker owned all partitions for a moment: wait until the rebalance is over.
      await new Promise((resolve) => setTimeout(resolve, 2_000))
    },
    async run() {
      for (const member of members) member.go()
      await until(() => all(({ records }) => records) >= messages, PATIENCE_MS, `${messages} messages are committed`)
      return messages
    },
    async finish() {
      for (const member of members) await member.stop()
    },
  }
}
