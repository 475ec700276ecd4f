/** Bins of the longest completion of a group, in characters. */
export const BINS = [
  { name: 'up to 100 characters', most: 100 },
  { name: 'up to 1,000 characters', most: 1_000 },
  { name: 'more than 1,000 characters', most: Number.POSITIVE_INFINITY },
] as const

/** A sampled group, with what the ledger has of it. */
export interface SampledGroup {
  readonly group_id: string
  /** Of its longest completion. */
  readonly characters: number
  readonly state: string | null
  /** Of a drop. */
  readonly reason: string | null
}

export const SAMPLED_GROUPS = `
  select sampled.group_id, max(length(sampled.text))::int as characters,
    any_value(ledger.state) as state, any_value(ledger.reason) as reason
  from policy.completions_sampled as sampled
  left join (from ledger where consumer = 'lab') as ledger on ledger.group_id = sampled.group_id
  group by sampled.group_id`

/** Least share of all groups that is trained on. Some are too old on purpose. */
const LEAST_DURABLE = 0.8

/**
 * Holds every bin to: sampled = inside the weights + dropped with a reason. A trainer or a feed that passes long groups
 * over would learn from short ones alone, and nothing else would tell.
 *
 * @param weights how often each group is inside the weights
 * @param count of what there is in each bin
 */
export function lengthBreaches(
  groups: readonly SampledGroup[],
  weights: Readonly<Record<string, number>>,
  count: (what: string, groups: number) => void,
): string[] {
  const breaches: string[] = []
  const isInside = ({ group_id }: SampledGroup) => weights[group_id] === 1
  const isDropped = ({ state, reason }: SampledGroup) => state === 'dropped' && reason !== null
  let least = 0
  for (const { name, most } of BINS) {
    const bin = groups.filter(({ characters }) => characters > least && characters <= most)
    least = most
    const durable = bin.filter((group) => isInside(group) && group.state === 'durable')
    const dropped = bin.filter((group) => isDropped(group) && !isInside(group))
    count(`sampled, ${name}`, bin.length)
    count(`durable, ${name}`, durable.length)
    for (const reason of new Set(dropped.map((group) => group.reason))) {
      count(`dropped as ${reason}, ${name}`, dropped.filter((group) => group.reason === reason).length)
    }
    if (durable.length === 0) breaches.push(`${name}: expected durable groups, found none of ${bin.length}`)
    if (durable.length + dropped.length === bin.length) continue
    const others = bin.filter((group) => !durable.includes(group) && !dropped.includes(group))
    breaches.push(
      `${name}: ${bin.length} sampled, expected as many durable and dropped, got ${durable.length} and ${dropped.length}; neither: ${JSON.stringify(others.slice(0, 5))}`,
    )
  }
  const inside = groups.filter(isInside).length
  if (inside < LEAST_DURABLE * groups.length) {
    breaches.push(
      `expected ${LEAST_DURABLE * 100} % of the groups inside the weights, got ${inside} of ${groups.length}`,
    )
  }
  if (!groups.some(({ reason }) => reason === 'stale')) breaches.push('expected groups that are too old, found none')
  return breaches
}
