import {
  type Damage,
  type Gone,
  OffsetGoneError,
  type Position,
  RecordDamagedError,
  TopicReplacedError,
} from './log.ts'

/** Error messages shared by the drivers: where, what was expected, what was found, what to do. */

export function unknownTopic(address: string, topic: string): string {
  return `${address} topic ${topic}: expected a topic that exists, found none. Create it first (createTopics).`
}

export function unknownPartition(address: string, topic: string, partition: number, count: number): string {
  return `${address} topic ${topic}: expected a partition from 0 to ${count - 1}, got ${partition}.`
}

export function topicMismatch(address: string, topic: string, expected: number, found: number): string {
  return (
    `${address} topic ${topic}: expected ${expected} partitions, found ${found}. ` +
    'The count is fixed when a topic is created: use the same configuration, or another log.'
  )
}

export function unequalTopics(group: string, topics: readonly string[], counts: readonly number[]): string {
  const found = topics.map((topic, i) => `${topic} has ${counts[i]}`).join(', ')
  return `group ${group}: expected topics with the same number of partitions, but ${found}.`
}

export function offsetGone(address: string, gone: Gone): OffsetGoneError {
  const { topic, partition, from, beginning } = gone
  return new OffsetGoneError(
    `${address} topic ${topic} partition ${partition}: offset ${from} was removed by retention; ` +
      `the first record still there is at ${beginning} or later. Seek there to continue without the removed records ` +
      '(./plumbline run --when-gone earliest).',
    gone,
  )
}

export function recordDamaged(address: string, damage: Damage): RecordDamagedError {
  const { topic, partition, from, to, problem } = damage
  const records = to - from === 1n ? `the record at offset ${from}` : `the records at offsets ${from} … ${to - 1n}`
  return new RecordDamagedError(
    `${address} topic ${topic} partition ${partition}: ${records} cannot be read: ${problem}.`,
    'put a backup in its place; ./plumbline verify lists every record that cannot be read, and ./plumbline repair --to ' +
      'NEWDIR copies all the others into a new folder',
    damage,
  )
}

export function fencedProducer(id: string): string {
  return `producer ${id}: a later producer has opened this id. Nothing was written; drop the unsaved work.`
}

export const notOwned = (group: string, member: string, partition: number) =>
  `group ${group}: member ${member} no longer owns partition ${partition}: another member processes its records.`

export function fencedClaim(group: string, member: string, partition: number): string {
  return (
    `group ${group}: member ${member} no longer owns partition ${partition} as it did when it polled. ` +
    'Nothing was written; drop the unsaved work.'
  )
}

export function groupHasMembers(group: string): string {
  return `group ${group}: expected no live members for a standalone position, found some. Use their claims, or stop them.`
}

export function otherTopics(group: string, theirs: string, asked: string): string {
  return (
    `group ${group}: expected the topics its live members read (${theirs}), got ${asked}. ` +
    'Stop the other members first, or use another group.'
  )
}

/** A topic's id when it was read and its id now. If either is empty (no topic ids), the two cannot be compared. */
export interface Replaced {
  readonly topic: string
  readonly was: string
  readonly is: string
}

export const isReplaced = ({ was, is }: Replaced) => was !== '' && is !== '' && was !== is

/** The first of these positions that was read in an earlier topic of the same name. */
export function firstReplaced(
  positions: readonly Position[],
  idOf: (topic: string) => string | undefined,
): Replaced | undefined {
  for (const { topic, seen } of positions) {
    const replaced = { topic, was: seen?.topic_id ?? '', is: seen === undefined ? '' : (idOf(topic) ?? '') }
    if (isReplaced(replaced)) return replaced
  }
  return undefined
}

export function topicReplaced(address: string, group: string, { topic, was, is }: Replaced): TopicReplacedError {
  return new TopicReplacedError(
    `${address} topic ${topic}: it was deleted and made again while ${group} read it (its id was ${was}, it is ${is}). ` +
      `Nothing of the new one was taken. ${resetRemedy(group)}`,
  )
}

/** How to restart a reader from the beginning after its topics were recreated. */
export function resetRemedy(group: string): string {
  if (group.startsWith('rescore/')) {
    return 'The rows of the former records stay under this name: rescore under another one (--name).'
  }
  return `To read from the beginning: ./plumbline positions reset --only ${/^[\w./-]+$/.test(group) ? group : `'${group}'`}`
}
