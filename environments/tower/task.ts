/**
 * The four tasks of paper 1 §3.2 and the answers that each allows (paper 1 A.4).
 */

export type Dataset = 'top_block' | 'side_block'
export type Task = 'binary_stability' | 'x_only' | 'x_y'

/** Answer units per world unit: one integer is 0.001 world units (inferred: design §7). */
export const UNITS_PER_WORLD = 1000
/** Edge of every block, in answer units and in world units (inferred: design §7). */
export const EDGE_UNITS = 250
export const EDGE_WORLD = EDGE_UNITS / UNITS_PER_WORLD

export const DATASETS: readonly Dataset[] = ['top_block', 'side_block']
export const TASKS: readonly Task[] = ['binary_stability', 'x_only', 'x_y']

/** The pairs of dataset and task that the paper trains on, in the order of its figure 1. */
export const LEGAL_PAIRS: readonly { readonly dataset: Dataset; readonly task: Task }[] = [
  { dataset: 'top_block', task: 'binary_stability' },
  { dataset: 'top_block', task: 'x_only' },
  { dataset: 'side_block', task: 'x_only' },
  { dataset: 'side_block', task: 'x_y' },
]

/** Range of each integer of an answer, in answer units, both ends included (paper 1 A.4). */
export const ANSWER_RANGES = {
  dx: { low: -600, high: 600 },
  dy: { low: 0, high: 1000 },
} as const

/**
 * Rejects a pair that the paper does not have.
 *
 * @throws RangeError naming the pair and the tasks that the dataset does have.
 */
export function assertLegalPair(dataset: Dataset, task: Task): void {
  if (LEGAL_PAIRS.some((pair) => pair.dataset === dataset && pair.task === task)) return
  const tasks = LEGAL_PAIRS.filter((pair) => pair.dataset === dataset).map((pair) => pair.task)
  if (tasks.length === 0)
    throw new RangeError(`dataset: expected one of ${DATASETS.join(', ')}, got ${JSON.stringify(dataset)}`)
  throw new RangeError(`task for dataset ${dataset}: expected one of ${tasks.join(', ')}, got ${JSON.stringify(task)}`)
}
