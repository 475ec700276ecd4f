import type { Log } from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'

/**
 * The lag of a group in offsets. An upper bound in records: transaction markers and gaps count too.
 *
 * @param counts which partitions of which topics; default: all
 */
export async function lagOf(
  log: Log,
  group: string,
  topics: readonly string[],
  counts: (topic: string, partition: number) => boolean = () => true,
): Promise<bigint> {
  const committed = new Map((await log.committed(group)).map((at) => [partitionName(at), at.next]))
  let lag = 0n
  for (const topic of topics) {
    const [ends, beginnings] = await Promise.all([log.endOffsets(topic), log.beginningOffsets(topic)])
    ends.forEach((end, partition) => {
      const next = committed.get(partitionName({ topic, partition })) ?? beginnings[partition] ?? 0n
      if (end > next && counts(topic, partition)) lag += end - next
    })
  }
  return lag
}
