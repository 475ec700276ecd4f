import { setTimeout as wait } from 'node:timers/promises'
import type { Log } from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'
import { isOfSnapshots, journalTopic, TOPOLOGY_TOPIC } from '../internal/internal-topics.ts'
import { misplacedIn } from '../state/misplaced.ts'
import { ResumingProducer } from '../work/resuming-producer.ts'
import { mergeRanges, type Range } from './merge-ranges.ts'
import { ReplayEmitter, timeOf } from './replay-emitter.ts'
import { otherLogError, type Replayed, type ReplayOptions } from './replay-options.ts'
import { refuseMixing, targetTopics } from './replay-target.ts'

/**
 * Appends a recorded log, up to its end when this is called, to another one: events in the order of `ce_time`, within a
 * partition in the order of the log, at their original spacing or faster. A `whole` replay then copies the workers'
 * internal topics. Each record is copied once despite kills: positions in the source commit with the records.
 *
 * Snapshots are not copied, because they name offsets of their own log. State is restored from the changelogs.
 *
 * @throws ReplayRefusedError when the target already has other records, or the source is incomplete or another log.
 */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { from, to, name, what, signal } = options
  const ends = await endsTogether(from.log)
  const topics = await targetTopics(options, [...ends.keys()])
  const positions = await to.log.committed(name)
  const misplaced = await misplacedIn(from.log, positions)
  if (misplaced.length > 0) throw otherLogError(options, misplaced)
  const known = new Map(positions.map((at) => [partitionName(at), at.next]))
  if (what === 'whole') await refuseMixing(options, topics, known.size > 0)
  await to.log.createTopics(topics)

  const rangesOf = async (names: readonly string[]): Promise<Range[]> => {
    const ranges: Range[] = []
    for (const topic of names) {
      const begins = await from.log.beginningOffsets(topic)
      for (const [partition, end] of (ends.get(topic) ?? []).entries()) {
        const start = options.starts?.get(topic)?.[partition] ?? 0n
        const begin = [begins[partition] ?? 0n, start].reduce((a, b) => (a > b ? a : b))
        ranges.push({ topic, partition, from: known.get(partitionName({ topic, partition })) ?? begin, to: end })
      }
    }
    return ranges
  }
  const names = topics.map((topic) => topic.name).filter((name) => !isOfSnapshots(name))
  const emitted = await rangesOf(names.filter((topic) => options.vocabulary.get(topic) !== undefined))
  const behind = await rangesOf(names.filter((topic) => options.vocabulary.get(topic) === undefined).sort(byDependence))

  const producer = await ResumingProducer.open(to.log, { transactional_id: name, group: name })
  try {
    const emitter = new ReplayEmitter(options, producer, topics, [...emitted, ...behind], await from.log.topics())
    await emitter.pace(emitted)
    await emitter.emit(mergeRanges(from.log, emitted, timeOf), true)
    for (const range of behind)
      await emitter.emit(
        mergeRanges(from.log, [range], () => 0),
        false,
      )
    return { ...emitter.result, complete: !signal.aborted }
  } finally {
    await producer.close()
  }
}

/** Where every topic ended at one moment: reads the ends until two reads agree, so that no commit came in between. */
async function endsTogether(log: Log): Promise<Map<string, readonly bigint[]>> {
  const look = async () => {
    const ends = new Map<string, readonly bigint[]>()
    for (const { name } of await log.topics()) ends.set(name, await log.endOffsets(name))
    return ends
  }
  const text = (ends: Map<string, readonly bigint[]>) => [...ends].map(([name, at]) => `${name} ${at}`).join('\n')
  for (let before = await look(), tries = 0; ; tries++) {
    const now = await look()
    if (text(before) === text(now)) return now
    if (tries >= 1_000)
      throw new Error(`${log.address} changes faster than it can be looked at; stop its run for a moment`)
    before = now
    await wait(1)
  }
}

/** Changelogs and dead letters first, then the journals that rely on them, then the topology that relies on all. */
function byDependence(a: string, b: string): number {
  const place = (topic: string) => (topic === TOPOLOGY_TOPIC ? 2 : topic.startsWith(journalTopic('')) ? 1 : 0)
  return place(a) - place(b) || (a < b ? -1 : 1)
}
