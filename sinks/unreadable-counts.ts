/** How many records of each topic a sink cannot read; topics that have none are left out. */
export type UnreadableCounts = Readonly<Record<string, number>>

export const unreadableTotal = (counts: UnreadableCounts) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0)
