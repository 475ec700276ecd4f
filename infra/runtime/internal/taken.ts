import type { Failure } from '../execute/executed.ts'

type Run = readonly [value: number, count: number]

/**
 * How the records of one journal entry were processed, so that a rerun processes them in the same way. A record is
 * named by its ordinal within the entry, which is the same in a copy of the log.
 */
export interface Taken {
  /** Records that became dead letters, as runs of [first ordinal, how many in a row]. */
  readonly dead: readonly Run[]
  /**
   * For a transform: the batch sizes of its successful calls of `apply`, in order, as runs of [records, how many such
   * calls in a row]. A batch that failed and was halved is listed by its successful parts.
   */
  readonly batches?: readonly Run[]
  /** Keys that failed to expire, with the ordinal of the tick. The tick itself was processed. */
  readonly unexpired?: readonly (readonly [ordinal: number, key: string])[]
}

/** Collects a `Taken` while a task processes records. */
export class TakenSoFar {
  readonly #dead: number[] = []
  readonly #batches: number[] = []
  readonly #unexpired: [number, string][] = []

  dead(ordinal: number): void {
    this.#dead.push(ordinal)
  }

  batches(sizes: readonly number[]): void {
    for (const size of sizes) this.#batches.push(size)
  }

  failed({ expiring }: Pick<Failure, 'expiring'>, ordinal: number): void {
    if (expiring === undefined) this.#dead.push(ordinal)
    else this.#unexpired.push([ordinal, expiring])
  }

  entry(is_batched: boolean): Taken {
    return {
      dead: consecutive([...this.#dead].sort((a, b) => a - b)),
      ...(is_batched ? { batches: repeated(this.#batches) } : {}),
      ...(this.#unexpired.length === 0 ? {} : { unexpired: [...this.#unexpired] }),
    }
  }
}

export function deadOrdinals({ dead }: Taken): ReadonlySet<number> {
  const ordinals = new Set<number>()
  for (const [first, count] of dead) for (let at = 0; at < count; at++) ordinals.add(first + at)
  return ordinals
}

export function batchSizes({ batches }: Taken): number[] | undefined {
  return batches?.flatMap(([size, times]) => Array.from({ length: times }, () => size))
}

/** Consecutive numbers as runs of [first, how many]. */
function consecutive(sorted: readonly number[]): Run[] {
  const runs: [number, number][] = []
  for (const number of sorted) {
    const last = runs.at(-1)
    if (last !== undefined && last[0] + last[1] === number) last[1]++
    else runs.push([number, 1])
  }
  return runs
}

function repeated(numbers: readonly number[]): Run[] {
  const runs: [number, number][] = []
  for (const number of numbers) {
    const last = runs.at(-1)
    if (last?.[0] === number) last[1]++
    else runs.push([number, 1])
  }
  return runs
}
