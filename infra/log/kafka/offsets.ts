import type { Position } from '../port/log.ts'
import { positionOf } from '../port/seen.ts'
import type { Connection } from './connection.ts'
import { KafkaProtocolError } from './protocol.ts'
import { offsetFetch } from './transaction-protocol.ts'

/** `stable`: up to the first open transaction. `written`: includes the records of open transactions. */
export type OffsetKind = 'beginning' | 'stable' | 'written'

const BEGINNING = -2
const END = -1

/** One offset for each partition of a topic. @throws UnknownTopicError. */
export async function offsetsOf(connection: Connection, topic: string, kind: OffsetKind): Promise<readonly bigint[]> {
  return await connection.attempt(`asking for the offsets of ${connection.shown(topic)}`, async () => {
    const leaders = await connection.leaders(topic)
    const offsets: bigint[] = leaders.map(() => 0n)
    const byLeader = Map.groupBy(leaders.keys(), (partition) => leaders[partition] as number)
    await Promise.all(
      [...byLeader].map(async ([leader, partitions]) => {
        if (leader < 0) throw new KafkaProtocolError(5, topic, partitions[0])
        const broker = await connection.leader(topic, partitions[0] as number)
        const { responses } = await broker.listOffsets({
          isolationLevel: kind === 'written' ? 0 : 1,
          topics: [
            {
              topic,
              partitions: partitions.map((partition) => ({
                partition,
                timestamp: kind === 'beginning' ? BEGINNING : END,
              })),
            },
          ],
        })
        for (const { partition, offset } of responses[0]?.partitions ?? []) offsets[partition] = BigInt(offset)
      }),
    )
    return offsets
  })
}

/**
 * A group's committed positions, sorted by topic and partition. Waits while an open transaction contains positions: its
 * end decides whether they count, and the broker times out every transaction.
 */
export async function committedOf(connection: Connection, group: string): Promise<readonly Position[]> {
  const { prefix } = connection.address
  const topics = await connection.attempt(`asking for the positions of group ${group}`, async () => {
    const coordinator = await connection.coordinator('group', prefix + group)
    return await offsetFetch(coordinator, prefix + group)
  })
  const positions: Position[] = []
  for (const { topic, partitions } of topics) {
    if (!topic.startsWith(prefix)) continue
    for (const { partition, offset, metadata } of partitions) {
      if (offset >= 0n) positions.push(positionOf(connection.shown(topic), partition, offset, metadata))
    }
  }
  return positions.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
}
