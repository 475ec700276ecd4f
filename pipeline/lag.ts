import type { Log, Position } from '../infra/log/port/log.ts'
import { misplacedIn } from '../infra/runtime/state/misplaced.ts'
import { publicTopics } from '../infra/runtime/state/topics.ts'
import { lagByPartition, type TopicLag } from '../infra/runtime/watch/lag-report.ts'
import { inputTopics } from '../processors/processor.ts'
import { processorsOf } from '../streams/describe.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { type PositionPlaces, positionsOfSinks } from './sink-positions.ts'
import { wiringOf } from './wiring.ts'

export interface GroupLag {
  readonly group: string
  readonly lags: readonly TopicLag[]
}

/** Every processor's group, and every sink that has stored positions. */
export async function lagOfGroups(log: Log, places: PositionPlaces): Promise<GroupLag[]> {
  const exists = new Set((await log.topics()).map(({ name }) => name))
  const groups: GroupLag[] = []
  for (const processor of processorsOf(await wiringOf({}))) {
    const topics = inputTopics(processor).filter((topic) => exists.has(topic))
    const positions = await inThisLog(log, await log.committed(processor.name))
    groups.push({ group: processor.name, lags: await lagByPartition(log, topics, positions) })
  }
  for (const { name, positions } of await positionsOfSinks(places)) {
    const topics = await publicTopics(log, catalogue)
    groups.push({ group: name, lags: await lagByPartition(log, topics, await inThisLog(log, positions)) })
  }
  return groups
}

/** Drops positions that are not of this log: nothing has been read of a topic that was deleted and recreated. */
async function inThisLog(log: Log, positions: readonly Position[]): Promise<readonly Position[]> {
  const others = new Set((await misplacedIn(log, positions)).map(({ position }) => position))
  return positions.filter((position) => !others.has(position))
}

/** The lags of a group by partition, in its order. */
export function byPartition({ lags }: GroupLag): [number, TopicLag[]][] {
  const partitions = new Map<number, TopicLag[]>()
  for (const lag of lags) partitions.set(lag.partition, [...(partitions.get(lag.partition) ?? []), lag])
  return [...partitions].sort(([a], [b]) => a - b)
}
