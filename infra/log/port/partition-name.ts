import type { Position } from './log.ts'

/** One partition of one topic as text, for keys of maps and for messages. */
export const partitionName = ({ topic, partition }: Pick<Position, 'topic' | 'partition'>): string =>
  `${topic}/${partition}`
