import type { RowOfEvent } from '../../schemas/declare/event.ts'
import type { DIALECTS } from '../../schemas/events/rollout.ts'
import type { completionsScored } from '../../schemas/events/tower.ts'

type ScoredRow = RowOfEvent<typeof completionsScored>

/** The input of a user-defined reward: a completion and its outcome, as recorded. */
export interface RecordedCompletion {
  readonly group_id: string
  readonly completion_index: number
  readonly scene_id: string
  readonly task: ScoredRow['task']
  /** The text of the last <answer> pair, and why it could not be parsed, if so. */
  readonly answer: string | null
  readonly parse_error: string | null
  readonly outcome: NonNullable<ScoredRow['outcome']>
  /** The move, answer units; null if there is none (unparseable, or a judgement). */
  readonly dx: number | null
  readonly dy: number | null
  /** Centre of the moved block where the answer puts it, and where it came to rest; world units. */
  readonly placed: ScoredRow['placed']
  readonly settled: ScoredRow['settled']
  /** d of paper 1 §3.4, world units; null if nothing was placed. */
  readonly distance_world: number | null
  /** The reward from live scoring. */
  readonly recorded_reward: number
}

/** The result of the exported function: a number, or a number with the terms that add up to it. */
export type CustomRewardValue =
  | number
  | { readonly reward: number; readonly reward_components: Readonly<Record<string, number>> }

/** Must depend on nothing but its argument: the same completion always has the same reward. */
export type CustomRewardFunction = (completion: RecordedCompletion) => CustomRewardValue

/** A loaded reward file, under the name that its rows will have. */
export interface CustomReward {
  readonly name: string
  readonly version: number
  readonly dialect: (typeof DIALECTS)[number]
  /** File name and function, for messages. */
  readonly where: string
  readonly source_sha256: string
  /**
   * The checked rewards of some completions, in the same order.
   * @throws RewardFunctionError
   */
  readonly evaluate: (completions: readonly RecordedCompletion[]) => Promise<readonly Reward[]> | readonly Reward[]
}

export interface Reward {
  readonly reward: number
  readonly reward_components: Readonly<Record<string, number>>
}

/** The reward function is wrong. The message has the place, the completion, the expected and the actual value. */
export class RewardFunctionError extends Error {
  override readonly name = 'RewardFunctionError'
  readonly retry = 'never'
}

/** Number of completions remembered with their rewards, for repeated calls. */
const REMEMBERED = 64

/** After the first REMEMBERED completions, every so many calls an earlier one is repeated. */
const REPEAT_EVERY = 16

/**
 * Calls a reward function and checks its result. Purity is sampled throughout: the first completions are each evaluated
 * twice, and later every sixteenth call repeats an earlier one, so that a function whose state changes over time is
 * detected too. The completion is frozen.
 *
 * @throws RewardFunctionError when it throws, returns no finite number, or returns another one when repeated.
 */
export function checkedReward(where: string, evaluate: CustomRewardFunction) {
  const remembered: { readonly completion: RecordedCompletion; readonly value: string }[] = []
  let asked = 0
  const fail = (completion: RecordedCompletion, expected: string, actual: string, cause?: unknown): never => {
    const { group_id, completion_index, task, outcome } = completion
    throw new RewardFunctionError(
      `${where}, completion ${completion_index} of group ${group_id} (${task}, ${outcome}): expected ${expected}, ${actual}`,
      { cause },
    )
  }
  const once = (completion: RecordedCompletion): unknown => {
    try {
      return evaluate(completion)
    } catch (error) {
      return fail(completion, 'a number', `but it threw ${String(error)}${placeIn(error)}`, error)
    }
  }
  const repeat = (completion: RecordedCompletion, value: string): void => {
    const again = shown(once(completion))
    if (again !== value) fail(completion, 'the same reward when asked twice', `got ${value} and then ${again}`)
  }
  return (completion: RecordedCompletion): Reward => {
    Object.freeze(completion)
    const value = once(completion)
    const given = typeof value === 'number' ? { reward: value, reward_components: {} } : value
    if (!isReward(given)) {
      const expected = 'a finite number, or {reward, reward_components} of finite numbers'
      return fail(completion, expected, `got ${shown(value)}`)
    }
    const sampled = asked++
    if (sampled < REMEMBERED) {
      remembered.push({ completion, value: shown(value) })
      repeat(completion, shown(value))
    } else if (sampled % REPEAT_EVERY === 0) {
      const place = (sampled / REPEAT_EVERY) % REMEMBERED
      const earlier = remembered[place]
      if (earlier !== undefined) repeat(earlier.completion, earlier.value)
      remembered[place] = { completion, value: shown(value) }
    }
    return { reward: given.reward + 0, reward_components: { ...given.reward_components } }
  }
}

function isReward(value: unknown): value is { reward: number; reward_components: Record<string, number> } {
  if (typeof value !== 'object' || value === null) return false
  const { reward, reward_components } = value as Record<string, unknown>
  return (
    Number.isFinite(reward) &&
    typeof reward_components === 'object' &&
    reward_components !== null &&
    Object.values(reward_components).every((part) => Number.isFinite(part))
  )
}

function shown(value: unknown): string {
  if (typeof value === 'number' || value === undefined) return String(value)
  if (value instanceof Promise) return 'a promise (the function is async)'
  try {
    return JSON.stringify(value, (_key, inner) => (typeof inner === 'number' ? String(inner) : inner)) ?? typeof value
  } catch {
    return typeof value
  }
}

/** The innermost location of a stack trace, without the query that a module's URL may have. */
const PLACE = /\/([^/\s)?]+)(?:\?[^:\s)]*)?:(\d+):\d+\)?$/m

/** ` at FILE:LINE` of a thrown error. */
function placeIn(error: unknown): string {
  const [, place, line] = (error instanceof Error && PLACE.exec(error.stack ?? '')) || []
  return place === undefined ? '' : ` at ${place}:${line}`
}
