import type { Log, Position } from '../../infra/log/port/log.ts'
import { misplacedIn } from '../../infra/runtime/state/misplaced.ts'
import { inputTopics } from '../../processors/processor.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { modelPublished } from '../../schemas/events/model.ts'
import { rewardDefined } from '../../schemas/events/reward.ts'
import { processorsOf } from '../../streams/describe.ts'
import type { Topology } from '../../streams/topology.ts'
import { type PositionPlaces, positionsOfSinks } from '../sink-positions.ts'

/** What still needs records. */
export interface Hold {
  /** As `--past` names it. */
  readonly name: string
  /** What it needs and how to let it go. */
  readonly why: string
  /** By topic and partition: the first offset that it needs. All of a topic that is missing may go. */
  readonly from: ReadonlyMap<string, readonly bigint[]>
}

/** Read from the beginning by whoever needs them: the versions of models, and the code of rewards. */
const READ_WHOLE: ReadonlySet<string> = new Set([modelPublished.type, rewardDefined.type])

/** Whether old events of this type may be deleted at all. What a ledger holds cannot be told by anything else. */
export const mayExpire = ({ type, retention }: EventType): boolean => retention !== 'ledger' && !READ_WHOLE.has(type)

/** What every processor and every known sink has not read. */
export async function readerHolds(log: Log, wiring: Topology, places: PositionPlaces): Promise<Hold[]> {
  const topics = wiring.events.filter(mayExpire).map(({ type }) => type)
  const holds: Hold[] = []
  for (const processor of processorsOf(wiring)) {
    const { name } = processor
    const inputs = inputTopics(processor).filter((topic) => topics.includes(topic))
    const why = `the processor ${name} has not read them: ./plumbline run; or, if it will never run, --past ${name}`
    holds.push({ name, why, from: await unread(log, inputs, await log.committed(name)) })
  }
  for (const { name, positions } of await positionsOfSinks(places)) {
    const why = `the sink ${name} has not loaded them: ./plumbline run; or, if it never will, --past ${name}`
    holds.push({ name, why, from: await unread(log, topics, positions) })
  }
  return holds
}

/** A position that is of an earlier topic of this name is none: nothing of this one was read. */
async function unread(
  log: Log,
  topics: readonly string[],
  positions: readonly Position[],
): Promise<ReadonlyMap<string, readonly bigint[]>> {
  const others = new Set((await misplacedIn(log, positions)).map(({ position }) => position))
  const from = new Map<string, bigint[]>()
  for (const topic of topics) {
    const offsets = (await log.endOffsets(topic)).map(() => 0n)
    for (const position of positions) {
      if (position.topic === topic && !others.has(position)) offsets[position.partition] = position.next
    }
    from.set(topic, offsets)
  }
  return from
}
