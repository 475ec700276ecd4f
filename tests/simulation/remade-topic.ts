import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { resetProcessor } from '../../infra/runtime/state/reset-positions.ts'
import { inputTopics, type Processor } from '../../processors/processor.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { sampled, sampledRow } from '../../testing/tower-events.ts'
import { topicsFor } from './stages.ts'
import type { World } from './world.ts'

const TOPIC = completionsSampled.type

/** Deletes the topic of completions, creates it again and appends other records, more in each partition than before. */
export async function remakeTopic({ broker, inputs: { partitions } }: World): Promise<void> {
  const left = broker.partitions(TOPIC).map(({ end }) => Number(end) + 2)
  broker.deleteTopic(TOPIC)
  broker.createTopics(topicsFor(partitions))
  const producer = await memoryLog({ broker }).producer({ transactional_id: 'remade' })
  const transaction = producer.begin()
  for (let i = 0; left.some((count) => count > 0); i++) {
    const event = sampled(`remade ${i}`, sampledRow(0, { group_id: `remade ${i}`, text: `r${i}` }))
    const partition = partitionOf(event.key, partitions)
    const { key, headers, value } = encodeEvent(completionsSampled, event)
    transaction.append(TOPIC, partition, { key, headers, value })
    left[partition] = (left[partition] ?? 0) - 1
  }
  await transaction.commit()
}

export const readersOfRemade = (world: World): readonly Processor[] =>
  world.stages.filter((processor) => inputTopics(processor).includes(TOPIC))

/** Readers that have a position in the topic: the others have none that could be wrong. */
export const haveReadRemade = (world: World): readonly Processor[] =>
  readersOfRemade(world).filter(({ name }) => world.broker.committed(name).some(({ topic }) => topic === TOPIC))

/** As `plumbline positions reset` does. */
export async function resetReaders(world: World): Promise<void> {
  const log = memoryLog({ broker: world.broker })
  for (const processor of readersOfRemade(world)) await resetProcessor(log, processor)
}

/** Each reader with a position must have stopped and named the command that helps. */
export function violationsOfRemade(world: World): string[] {
  return haveReadRemade(world).flatMap((processor) => {
    const { name } = processor
    const told = world.refusals.filter((refusal) => refusal.includes(`positions reset --only ${name}`))
    if (world.workersOf(processor).length === 0 && told.length > 0) return []
    return [
      `${name} goes on in ${TOPIC}, which was made again: expected it to stop with "positions reset --only ${name}"`,
    ]
  })
}
