import { isReplaced, resetRemedy } from '../../log/port/failure.ts'
import { type Log, OffsetGoneError, type Position, type Topic, TopicReplacedError } from '../../log/port/log.ts'
import { digestOf } from '../../log/port/seen.ts'
import { sleep } from '../../sleep.ts'

/** A position that does not belong to this log: resuming from it would skip records that were never read. */
export interface Misplaced {
  readonly position: Position
  readonly why: string
}

/** A broker that has just become a partition's leader may briefly report an end that is too low. */
const BEYOND_END_MS = 2_000

/**
 * Which of these positions do not belong to the log, judged by the topic's id, its end and the last record that was
 * read. If retention has removed that record, the position counts as belonging.
 */
export async function misplacedIn(log: Log, positions: readonly Position[]): Promise<Misplaced[]> {
  if (positions.length === 0) return []
  const found = misplacedByTopic(await log.topics(), positions)
  const others = new Set(found.map(({ position }) => position))
  const left = positions.filter((position) => !others.has(position))
  const byTopic = [...Map.groupBy(left, ({ topic }) => topic)]
  const checked = await Promise.all(
    byTopic.map(async ([topic, some]) => {
      const beyond = await beyondEnd(log, topic, some)
      const within = some.filter((position) => !beyond.some((one) => one.position === position))
      return [...beyond, ...(await otherRecords(log, topic, within))]
    }),
  )
  return [...found, ...checked.flat()]
}

/** Compares ids only, of topics that were already listed, so it costs next to nothing. */
export function misplacedByTopic(topics: readonly Topic[], positions: readonly Position[]): Misplaced[] {
  const byName = new Map(topics.map((topic) => [topic.name, topic]))
  const found: Misplaced[] = []
  for (const position of positions) {
    const { topic, seen } = position
    const now = byName.get(topic)
    const replaced = { topic, was: seen?.topic_id ?? '', is: now?.id ?? '' }
    if (now === undefined) found.push({ position, why: 'the topic is not there any more' })
    else if (isReplaced(replaced)) {
      found.push({
        position,
        why: `the topic was deleted and made again (its id was ${replaced.was}, it is ${now.id})`,
      })
    }
  }
  return found
}

async function beyondEnd(log: Log, topic: string, positions: readonly Position[]): Promise<Misplaced[]> {
  const began_ms = performance.now()
  for (;;) {
    const ends = await log.endOffsets(topic)
    const beyond = positions.filter(({ partition, next }) => next > (ends[partition] ?? 0n))
    if (beyond.length === 0 || performance.now() - began_ms > BEYOND_END_MS) {
      return beyond.map((position) => ({
        position,
        why: `it ends at offset ${ends[position.partition] ?? 0n}: it was made again, or an older copy was put in its place`,
      }))
    }
    await sleep(100)
  }
}

async function otherRecords(log: Log, topic: string, positions: readonly Position[]): Promise<Misplaced[]> {
  const begins = await log.beginningOffsets(topic)
  const found = positions.map(async (position): Promise<Misplaced | undefined> => {
    const { partition, seen } = position
    const last = seen?.last
    if (last === undefined || last.offset < (begins[partition] ?? 0n)) return undefined
    const read = await log.read({ topic, partition, from: last.offset, max_bytes: 1 }).catch((error: unknown) => {
      if (error instanceof OffsetGoneError) return undefined
      throw error
    })
    if (read === undefined) return undefined
    const [record] = read.records
    const same =
      record?.offset === last.offset && record.appended_ms === last.appended_ms && digestOf(record) === last.digest
    if (same) return undefined
    return {
      position,
      why: `the last record that was read, at offset ${last.offset}, is another one now: the log was put back from a copy`,
    }
  })
  return (await Promise.all(found)).filter((one) => one !== undefined)
}

/**
 * Call between reading and committing: checks that the records were read from the topics that these positions name.
 * @throws TopicReplacedError
 */
export async function expectSameTopics(log: Log, group: string, positions: readonly Position[]): Promise<void> {
  const misplaced = misplacedByTopic(await log.topics(), positions)
  if (misplaced.length > 0) throw misplacedError(log, group, misplaced)
}

/** The error of a group's reader that must not resume from these positions. It names the command to run. */
export function misplacedError(
  { address }: Pick<Log, 'address'>,
  group: string,
  misplaced: readonly Misplaced[],
): TopicReplacedError {
  const what = `${address}: ${group} stops, or it would skip records that it has never read`
  const remedy = `What it has made of the former records stays. ${resetRemedy(group)}`
  return new TopicReplacedError(`${what}: ${listed(misplaced)}. ${remedy}`)
}

/** The first three of them, as text. */
export function listed(misplaced: readonly Misplaced[]): string {
  const some = misplaced.slice(0, 3).map(({ position: { topic, partition, next }, why }) => {
    return `${topic} partition ${partition} was read up to offset ${next}, and ${why}`
  })
  const more = misplaced.length > 3 ? `; and ${misplaced.length - 3} more` : ''
  return some.join('; ') + more
}
