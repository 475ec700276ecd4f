/** How many records of each topic are in no table; topics that have none are left out. */
export type UnreadableCounts = Readonly<Record<string, number>>

export const unreadableTotal = (counts: UnreadableCounts) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0)

/** For messages: how many, and where to look. */
export const unreadableText = (count: number) =>
  `${count} ${count === 1 ? 'record, which is' : 'records, which are'} in no table and read again now and then; see: ./plumbline dlq list --processor duckdb`
