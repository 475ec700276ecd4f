/**
 * The names that are most like what was typed, by edit distance (Levenshtein 1966: insertions, deletions and
 * substitutions), nearest first. A name that contains what was typed counts as near.
 */
export function nearest(typed: string, names: readonly string[], most: number): string[] {
  const distance = (name: string) => (name.includes(typed) ? 0 : editDistance(typed.slice(0, 256), name.slice(0, 256)))
  return names
    .map((name) => ({ name, far: distance(name) }))
    .toSorted((one, other) => one.far - other.far || (one.name < other.name ? -1 : 1))
    .slice(0, most)
    .map(({ name }) => name)
}

function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at)
  for (let at = 0; at < one.length; at++) {
    const next = [at + 1]
    for (let to = 0; to < other.length; to++) {
      const substituted = (row[to] as number) + (one[at] === other[to] ? 0 : 1)
      next.push(Math.min(substituted, (row[to + 1] as number) + 1, (next[to] as number) + 1))
    }
    row = next
  }
  return row[other.length] as number
}
