import { setTimeout as wait } from 'node:timers/promises'
import type { Log } from '../log/log.ts'
import { journalTopic, SNAPSHOTS_TOPIC, TOPOLOGY_TOPIC } from './internal-topics.ts'
import { mergeRanges, type Range } from './merge-ranges.ts'
import { ReplayEmitter, timeOf } from './replay-emitter.ts'
import { type Replayed, type ReplayOptions, ReplayRefusedError } from './replay-options.ts'
import { refuseMixing, targetTopics } from './replay-target.ts'

/**
 * Emits a recorded log again, as far as it goes when this is called: events in the order of `ce_time`, within a
 * partition in the order of the log, at their original spacing or faster; then, of a whole log, what its workers wrote
 * for themselves. Each record once, whatever is killed when: positions in the recorded log commit with the records.
 *
 * Snapshots stay behind: they name offsets of their own log. The state comes from the changelogs.
 *
 * @throws ReplayRefusedError when the target is not a place for it.
 */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { from, to, name, what, signal } = options
  const ends = await endsTogether(from.log)
  const topics = await targetTopics(options, [...ends.keys()])
  const known = new Map((await to.log.committed(name)).map((at) => [`${at.topic}/${at.partition}`, at.next]))
  if (what === 'whole') await refuseMixing(options, topics, known.size > 0)
  await to.log.createTopics(topics)

  const rangesOf = async (names: readonly string[]): Promise<Range[]> => {
    const ranges: Range[] = []
    for (const topic of names) {
      const begins = await from.log.beginningOffsets(topic)
      for (const [partition, end] of (ends.get(topic) ?? []).entries()) {
        const start = options.starts?.get(topic)?.[partition] ?? 0n
        const begin = [begins[partition] ?? 0n, start].reduce((a, b) => (a > b ? a : b))
        const next = known.get(`${topic}/${partition}`) ?? begin
        if (next > end) {
          throw new ReplayRefusedError(
            `${to.log.address} has ${topic} partition ${partition} from ${from.log.address} up to offset ${next}, which ends at ${end}: it is another log now; replay it into another place`,
          )
        }
        ranges.push({ topic, partition, from: next, to: end })
      }
    }
    return ranges
  }
  const names = topics.map((topic) => topic.name).filter((name) => name !== SNAPSHOTS_TOPIC)
  const said = await rangesOf(names.filter((topic) => options.vocabulary.get(topic) !== undefined))
  const behind = await rangesOf(names.filter((topic) => options.vocabulary.get(topic) === undefined).sort(byDependence))

  const producer = await to.log.producer({ transactional_id: name })
  try {
    const emitter = new ReplayEmitter(options, producer, topics, [...said, ...behind])
    await emitter.pace(said)
    await emitter.emit(mergeRanges(from.log, said, timeOf), true)
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

/** Where every topic ended at one moment: looked at until two looks in a row agree, so no commit lies between them. */
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

/** Changelogs and dead letters, then the journals that say they are complete, then the topology that vouches for all. */
function byDependence(a: string, b: string): number {
  const place = (topic: string) => (topic === TOPOLOGY_TOPIC ? 2 : topic.startsWith(journalTopic('')) ? 1 : 0)
  return place(a) - place(b) || (a < b ? -1 : 1)
}
