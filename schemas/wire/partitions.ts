/** Partition counts of the event topics: one number for all, or exceptions for some. */
export type Partitions = number | UnevenPartitions

export interface UnevenPartitions {
  readonly others: number
  /** By event type; only counts that differ from `others`. */
  readonly by_event: Readonly<Record<string, number>>
}

export function partitionsOf(partitions: Partitions, type: string): number {
  return typeof partitions === 'number' ? partitions : (partitions.by_event[type] ?? partitions.others)
}

/** The largest count, for topics that belong to no single event type. */
export function mostPartitions(partitions: Partitions): number {
  if (typeof partitions === 'number') return partitions
  return Math.max(partitions.others, ...Object.values(partitions.by_event))
}

/** Normalised, so that equal counts can be compared and fingerprinted. */
export function partitionsFrom(others: number, by_event: Iterable<readonly [type: string, count: number]>): Partitions {
  const uneven = [...by_event].filter(([, count]) => count !== others).sort(([a], [b]) => (a < b ? -1 : 1))
  return uneven.length === 0 ? others : { others, by_event: Object.fromEntries(uneven) }
}

/** As typed on the command line: `4` or `4,rollout.group_formed=8`. */
export function partitionsText(partitions: Partitions): string {
  if (typeof partitions === 'number') return String(partitions)
  return [partitions.others, ...Object.entries(partitions.by_event).map((entry) => entry.join('='))].join()
}
