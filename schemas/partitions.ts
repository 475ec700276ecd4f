/** How many partitions the topics of events have: one number for all, or others for some. */
export type Partitions = number | UnevenPartitions

export interface UnevenPartitions {
  readonly others: number
  /** By event type; none that is as all others. */
  readonly by_event: Readonly<Record<string, number>>
}

export function partitionsOf(partitions: Partitions, type: string): number {
  return typeof partitions === 'number' ? partitions : (partitions.by_event[type] ?? partitions.others)
}

/** Those of what belongs to no event alone. */
export function mostPartitions(partitions: Partitions): number {
  if (typeof partitions === 'number') return partitions
  return Math.max(partitions.others, ...Object.values(partitions.by_event))
}

/** One form for the same counts, so that they can be compared and fingerprinted. */
export function partitionsFrom(others: number, by_event: Iterable<readonly [type: string, count: number]>): Partitions {
  const uneven = [...by_event].filter(([, count]) => count !== others).sort(([a], [b]) => (a < b ? -1 : 1))
  return uneven.length === 0 ? others : { others, by_event: Object.fromEntries(uneven) }
}

/** As a person types it: `4` or `4,rollout.group_formed=8`. */
export function partitionsText(partitions: Partitions): string {
  if (typeof partitions === 'number') return String(partitions)
  return [partitions.others, ...Object.entries(partitions.by_event).map((entry) => entry.join('='))].join()
}
