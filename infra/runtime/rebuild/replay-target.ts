import { clockTicked } from '../../../schemas/events/clock.ts'
import { partitionsOf } from '../../../schemas/wire/partitions.ts'
import type { TopicSpec } from '../../log/port/log.ts'
import { isOfSnapshots, journalTopic } from '../internal/internal-topics.ts'
import { partitionsIn } from '../state/topics.ts'
import { type ReplayOptions, ReplayRefusedError } from './replay-options.ts'

/** The topics that a replay copies, with their partition counts in the target: events first, in declaration order. */
export async function targetTopics(
  { from, to, what, events, partitions: asked }: ReplayOptions,
  names: readonly string[],
): Promise<TopicSpec[]> {
  const there = new Map((await to.log.topics()).map((topic) => [topic.name, topic.partitions]))
  const target = asked ?? (await partitionsIn(to.log, events))
  const order = new Map(events.map((type, at) => [type.type, at]))
  const place = (name: string) => order.get(name) ?? Number.POSITIVE_INFINITY
  const topics = (await from.log.topics()).filter(({ name }) => names.includes(name))
  const wanted = what === 'whole' ? topics : topics.filter(({ name }) => order.has(name) && name !== clockTicked.type)
  return wanted
    .sort((a, b) => (place(a.name) < place(b.name) ? -1 : place(a.name) > place(b.name) ? 1 : 0))
    .map(({ name, partitions }) => ({
      name,
      partitions: what === 'whole' ? partitions : (there.get(name) ?? partitionsOf(target ?? partitions, name)),
    }))
}

/** Refuses a target with other records: a journal counts all records of a partition, so none may be added. */
export async function refuseMixing(
  { from, to }: ReplayOptions,
  topics: readonly TopicSpec[],
  goes_on: boolean,
): Promise<void> {
  const there = new Set((await to.log.topics()).map(({ name }) => name))
  const remedy = 'replay into an empty place, or bring the sources only'
  for (const { name } of topics) {
    // Snapshots are not copied. All other topics must be complete: states and journals count from the first record.
    if (!isOfSnapshots(name) && (await from.log.beginningOffsets(name)).some((begin) => begin > 0n)) {
      throw new ReplayRefusedError(
        `${from.log.address}: retention removed the beginning of ${name}, and states or journals count it; bring the sources only`,
      )
    }
    const processor = name.startsWith(journalTopic('')) ? name.slice(journalTopic('').length) : undefined
    if (processor !== undefined && (await to.log.committed(processor)).length > 0) {
      throw new ReplayRefusedError(
        `${processor} has been at work in ${to.log.address}: its journal and the replayed one would mix; ${remedy}`,
      )
    }
    if (goes_on || !there.has(name)) continue
    if ((await to.log.endOffsets(name)).some((end) => end > 0n)) {
      throw new ReplayRefusedError(`${to.log.address} holds records of ${name} already; ${remedy}`)
    }
  }
}
