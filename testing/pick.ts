import type { Random } from '../environments/tower/random.ts'

/** One of the items, each equally likely. */
export function pick<T>(draw: Random, items: readonly T[]): T {
  return items[draw.integer(0, items.length - 1)] as T
}
