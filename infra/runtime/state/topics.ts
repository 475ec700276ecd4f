import type { Processor } from '../../../processors/processor.ts'
import type { EventType } from '../../../schemas/declare/event.ts'
import {
  mostPartitions,
  type Partitions,
  partitionsFrom,
  partitionsOf,
  partitionsText,
} from '../../../schemas/wire/partitions.ts'
import { FencedError, type Log, type TopicSpec } from '../../log/port/log.ts'
import { topologyIn } from '../internal/internal-records.ts'
import {
  changelogTopic,
  DEAD_LETTERS_TOPIC,
  journalTopic,
  type RecordedTopology,
  SNAPSHOTS_TOPIC,
  TOPOLOGY_TOPIC,
} from '../internal/internal-topics.ts'
import { toJson } from '../internal/json-records.ts'
import { readEntries } from '../internal/read-entries.ts'

/** Every topic that the events and these processors need. */
export function topicsOf(
  events: readonly EventType[],
  processors: readonly Joining[],
  partitions: Partitions,
): TopicSpec[] {
  const most = mostPartitions(partitions)
  return [
    ...events.map(({ type, retention }): TopicSpec => {
      // Derived events can be recomputed from the others.
      const kept = retention === 'derived' ? 'may_expire' : 'for_ever'
      return { name: type, partitions: partitionsOf(partitions, type), retention: kept }
    }),
    ...processors.flatMap((processor): TopicSpec[] => {
      const tasks = tasksOf(processor, partitions)
      return [
        { name: journalTopic(processor.name), partitions: tasks, retention: 'for_ever' },
        { name: changelogTopic(processor.name), partitions: tasks, retention: 'latest_per_key' },
      ]
    }),
    { name: SNAPSHOTS_TOPIC, partitions: most, retention: 'latest_per_key' },
    { name: DEAD_LETTERS_TOPIC, partitions: most, retention: 'for_ever' },
    { name: TOPOLOGY_TOPIC, partitions: 1, retention: 'for_ever' },
  ]
}

/** The public topics of the log: events and dead letters, without topics of other programs on the broker. */
export async function publicTopics(log: Log, events: readonly EventType[]): Promise<string[]> {
  const names = new Set([...events.map(({ type }) => type), DEAD_LETTERS_TOPIC])
  return (await log.topics()).map(({ name }) => name).filter((name) => names.has(name))
}

/** The part of a processor that determines its topics. */
type Joining = Pick<Processor, 'name'> & { readonly inputs?: readonly Pick<EventType, 'type'>[] }

/** How many tasks a processor has: one for each partition of its inputs, which have equal counts. */
export function tasksOf({ inputs = [] }: Joining, partitions: Partitions): number {
  return partitionsOf(partitions, inputs[0]?.type ?? '')
}

/** The partition counts of this log: as recorded, else from the topics of these events; undefined if none exist. */
export async function partitionsIn(log: Log, events: readonly EventType[]): Promise<Partitions | undefined> {
  const recorded = await recordedTopology(log)
  if (recorded !== undefined) return recorded.partitions
  // Created or copied, but never run: missing topics will have the count of the first existing one.
  const there = new Map((await log.topics()).map(({ name, partitions }) => [name, partitions]))
  const counts = events.flatMap(({ type }) => {
    const count = there.get(type)
    return count === undefined ? [] : [[type, count] as const]
  })
  return counts[0] === undefined ? undefined : partitionsFrom(counts[0][1], counts)
}

/** This program, as it was started, cannot use the state in this log. */
export class TopologyMismatchError extends Error {
  override readonly name = 'TopologyMismatchError'
  readonly retry = 'never'
}

/**
 * Compares the topology with those that produced the log's state, and records it when it is new.
 *
 * A processor may read more than before: it begins with the first record of a new input, as of any other.
 *
 * @throws TopologyMismatchError when partitions changed, a processor no longer reads one of its inputs (but those of a
 * broadcast state that it no longer has), or a state is newer than this program.
 */
export async function claimTopology(log: Log, topology: RecordedTopology): Promise<void> {
  for (;;) {
    const before = await recordedTopology(log)
    if (before !== undefined) refuseTakeover(log.address, before, topology)
    if (before?.fingerprints.has(topology.fingerprint)) return
    try {
      const producer = await log.producer({ transactional_id: 'topology' })
      const transaction = producer.begin()
      transaction.append(TOPOLOGY_TOPIC, 0, { key: 'topology', headers: [], value: toJson(topology) })
      await transaction.commit()
      await producer.close()
      return
    } catch (error) {
      // Another program claimed concurrently: read what it has written.
      if (!(error instanceof FencedError)) throw error
    }
  }
}

/** The last topology, all fingerprints, and the latest recorded form of each processor that ever ran here. */
async function recordedTopology(
  log: Log,
): Promise<(RecordedTopology & { readonly fingerprints: ReadonlySet<string> }) | undefined> {
  const exists = (await log.topics()).some((topic) => topic.name === TOPOLOGY_TOPIC)
  if (!exists) return undefined
  let last: RecordedTopology | undefined
  const fingerprints = new Set<string>()
  const processors = new Map<string, RecordedTopology['processors'][number]>()
  for await (const { entry } of readEntries(log, TOPOLOGY_TOPIC, 0, topologyIn)) {
    last = entry
    fingerprints.add(last.fingerprint)
    for (const processor of last.processors) processors.set(processor.name, processor)
  }
  return last && { ...last, processors: [...processors.values()], fingerprints }
}

function refuseTakeover(address: string, before: RecordedTopology, now: RecordedTopology): void {
  const fail = (problem: string): never => {
    throw new TopologyMismatchError(
      `${address}: ${problem}; replay the log into a new folder, or run the program that wrote it`,
    )
  }
  const [had, wants] = [partitionsText(before.partitions), partitionsText(now.partitions)]
  if (had !== wants) fail(`its topics have ${had} partitions, the topology wants ${wants}`)
  for (const processor of now.processors) {
    const known = before.processors.find((candidate) => candidate.name === processor.name)
    if (known === undefined) continue
    if (!known.inputs.every((input) => processor.inputs.includes(input))) {
      fail(
        `${processor.name} has state made from ${known.inputs.join(', ')}, it now reads ${processor.inputs.join(', ')}`,
      )
    }
    // A stateless processor reads no state, and leaves it for a later run that needs it.
    if (processor.state_version > 0 && known.state_version > processor.state_version) {
      fail(
        `${processor.name} has state of version ${known.state_version}, this program knows ${processor.state_version}`,
      )
    }
    const [stored = 0, now = 0] = [known.broadcast_version, processor.broadcast_version]
    if (now > 0 && stored > now) {
      fail(`${processor.name} has broadcast state of version ${stored}, this program knows ${now}`)
    }
  }
}
