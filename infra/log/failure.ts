import { type Gone, OffsetGoneError } from './log.ts'

/** What the errors of every driver say: where, what was expected, what was found, what to do. */

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
      `the first record still there is at ${beginning} or later. Seek there to go on without what was removed ` +
      '(./plumbline run --when-gone earliest).',
    gone,
  )
}

export function fencedProducer(id: string): string {
  return `producer ${id}: a later producer has opened this id. Nothing was written; drop the unsaved work.`
}

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
